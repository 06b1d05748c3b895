// Pages that redraw themselves. What is in an element with data-redraw (and an id) is asked for every three seconds,
// as the server draws it on this very page, and only what differs is changed, so that what has the focus keeps it.
// Nothing is asked while the tab is hidden.
const SECONDS = 3;

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
        if (!fresh.hasAttribute(name)) {
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

const places = [...document.querySelectorAll("[data-redraw]")];

async function redraw() {
    if (document.hidden) {
        return;
    }
    const answer = await fetch(location.href, { headers: { "X-Requested-With": "redraw" } });
    if (answer.redirected) {
        location.reload();  // logged out
        return;
    }
    if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const place of places) {
            const fresh = page.getElementById(place.id);
            if (fresh) {
                alter(place, fresh);
            }
        }
    }
}

async function round() {
    try {
        await redraw();
    } catch {
        // The server is away for a moment; the next round asks again.
    }
    setTimeout(round, SECONDS * 1000);
}

if (places.length) {
    setTimeout(round, SECONDS * 1000);
    document.addEventListener("visibilitychange", () => redraw().catch(() => {}));
}
