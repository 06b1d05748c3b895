// Drop-downs close when somebody clicks elsewhere or presses Escape; "/" goes to the search.
const open = () => document.querySelectorAll("details.menu[open]");

document.addEventListener("click", (event) => {
    for (const menu of open()) {
        if (!menu.contains(event.target)) {
            menu.open = false;
        }
    }
});

document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
        for (const menu of open()) {
            menu.open = false;
            menu.querySelector("summary").focus();
        }
    }
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    const search = document.getElementById("searchbar");
    if (event.key === "/" && search && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        search.focus();
        search.select();
    }
});

// A typed filter is ready to be typed into as soon as it opens.
for (const menu of document.querySelectorAll("details.menu")) {
    menu.addEventListener("toggle", () => menu.open && menu.querySelector("input[type=text]")?.focus());
}
