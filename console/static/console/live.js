// Pages that move by themselves. An element with data-live-url is asked for every three seconds, with the keys
// of what is in sight (data-live inside of it); the answer is JSON: {key: {text?, attributes?}}. Nothing is asked
// while the tab is hidden, nor anything that has scrolled away, and only texts and attributes are ever set.
const SECONDS = 3;
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

    async function ask() {
        const wanted = rows();
        if (document.hidden || !wanted.size) {
            return;
        }
        const url = new URL(place.dataset.liveUrl, location.href);
        wanted.forEach((row) => url.searchParams.append("row", row));
        const answer = await fetch(url, { headers: { Accept: "application/json" } });
        if (answer.redirected) {
            location.reload();  // logged out
            return;
        }
        if (answer.ok) {
            for (const [key, change] of Object.entries(await answer.json())) {
                const element = elements.get(key);
                if (element) {
                    apply(element, change);
                }
            }
        }
    }

    async function round() {
        try {
            await ask();
        } catch {
            // The server is away for a moment; the next round asks again.
        }
        setTimeout(round, SECONDS * 1000);
    }
    setTimeout(round, SECONDS * 1000);
    document.addEventListener("visibilitychange", () => document.hidden || ask().catch(() => {}));
}

document.querySelectorAll("[data-live-url]").forEach(follow);
