// Buttons with data-copy put that text on the clipboard, and say so for a moment.
const SECONDS = 1.5;

async function copy(text) {
    if (navigator.clipboard) {
        await navigator.clipboard.writeText(text);
        return;
    }
    // Without https a browser has no clipboard but that of the selection.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}

document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) {
        return;
    }
    await copy(button.dataset.copy);
    button.focus();
    const use = button.querySelector("use");
    const [sprite] = use.getAttribute("href").split("#");
    use.setAttribute("href", `${sprite}#check`);
    button.classList.add("done");
    setTimeout(() => {
        use.setAttribute("href", `${sprite}#copy`);
        button.classList.remove("done");
    }, SECONDS * 1000);
});
