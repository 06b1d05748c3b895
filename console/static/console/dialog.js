// Links with data-dialog show what they lead to in a dialog; without JavaScript they are links.
// What comes back must be a piece of a page of ours, made and escaped by the server.
const dialog = document.createElement("dialog");
dialog.setAttribute("aria-live", "polite");
let opener = null;

function close() {
    dialog.close();
}

document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) {
        return;
    }
    event.preventDefault();
    opener = link;
    const answer = await fetch(link.href, { headers: { "X-Requested-With": "dialog" } });
    if (!answer.ok || answer.redirected) {
        location.assign(link.href);  // logged out, or gone: the page itself says so
        return;
    }
    const piece = new DOMParser().parseFromString(await answer.text(), "text/html");
    dialog.replaceChildren(...piece.body.childNodes);
    if (!dialog.isConnected) {
        document.body.append(dialog);
    }
    dialog.showModal();
});

dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) {
        close();
    }
});
dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    opener?.focus();
});
