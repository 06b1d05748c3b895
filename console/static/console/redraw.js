// Pages that redraw themselves. What is in an element with data-redraw (and an id) is asked for again and again, as the
// server draws it on this very page, and only what differs is changed, so that what has the focus keeps it. When the
// server draws it without data-redraw, nothing more will change there.
import { answerOf, poll } from "./poll.js";

const KEPT = new Set(["open"]);  // what the reader has done to an element

function alter(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
        old.replaceWith(document.importNode(fresh, true));
        return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
        if (old.data !== fresh.data) {
            old.data = fresh.data;
        }
        return;
    }
    for (const { name } of [...old.attributes]) {
        if (!fresh.hasAttribute(name) && !KEPT.has(name)) {
            old.removeAttribute(name);
        }
    }
    for (const { name, value } of fresh.attributes) {
        if (old.getAttribute(name) !== value) {
            old.setAttribute(name, value);
        }
    }
    const [had, has] = [[...old.childNodes], [...fresh.childNodes]];
    had.slice(has.length).forEach((child) => child.remove());
    has.forEach((child, index) => {
        if (index < had.length) {
            alter(had[index], child);
        } else {
            old.append(document.importNode(child, true));
        }
    });
}

const places = () => [...document.querySelectorAll("[data-redraw]")];

async function redraw() {
    const answer = await answerOf(location.href, { "X-Requested-With": "redraw" });
    if (answer) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const place of places()) {
            const fresh = page.getElementById(place.id);
            if (fresh) {
                alter(place, fresh);
            }
        }
    }
    return !places().length;
}

if (places().length) {
    poll(redraw);
}
