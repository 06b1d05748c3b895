// Lists that move by themselves. An element with data-live-url is asked for again and again, with the keys of what is
// in sight (data-live inside of it); the answer is JSON: {key: {text?, attributes?}}. What has scrolled away is not
// asked for, and only texts and attributes are ever set, so that a row stays where its tick is.
import { answerOf, poll } from "./poll.js";

const ALLOWED = new Set(["class", "width", "x", "aria-label", "title", "datetime", "hidden"]);

function apply(element, change) {
    if (change.text !== undefined && element.textContent !== change.text) {
        element.textContent = change.text;
    }
    for (const [name, value] of Object.entries(change.attributes ?? {})) {
        if (ALLOWED.has(name) && value === null) {
            element.removeAttribute(name);
        } else if (ALLOWED.has(name) && element.getAttribute(name) !== String(value)) {
            element.setAttribute(name, value);
        }
    }
}

function follow(place) {
    const seen = new Set();
    const watch = new IntersectionObserver((entries) => {
        for (const entry of entries) {
            seen[entry.isIntersecting ? "add" : "delete"](entry.target);
        }
    });
    const elements = new Map();
    for (const element of place.querySelectorAll("[data-live]")) {
        elements.set(element.dataset.live, element);
        watch.observe(element);
    }

    const rows = () => new Set([...seen].map((element) => element.dataset.live.split(".")[0]));

    poll(async () => {
        const wanted = rows();
        if (!wanted.size) {
            return;
        }
        const url = new URL(place.dataset.liveUrl, location.href);
        wanted.forEach((row) => url.searchParams.append("row", row));
        const answer = await answerOf(url, { Accept: "application/json" });
        for (const [key, change] of Object.entries(answer ? await answer.json() : {})) {
            const element = elements.get(key);
            if (element) {
                apply(element, change);
            }
        }
    });
}

document.querySelectorAll("[data-live-url]").forEach(follow);
