// The bar above a list: how many rows are ticked, all on the page, a range with Shift, all that match.
const bar = document.querySelector("[data-selection]");
const boxes = [...document.querySelectorAll("input.action-select")];
const all = document.getElementById("action-toggle");

if (bar && boxes.length) {
    const chosen = bar.querySelector(".chosen");
    const across = bar.querySelector(".across");
    const acrossField = bar.querySelector("input[name=select_across]");
    const hint = chosen.textContent;
    let last = null;

    const show = () => {
        const ticked = boxes.filter((box) => box.checked).length;
        const everything = ticked === boxes.length;
        if (acrossField && !everything) {
            acrossField.value = "0";
        }
        const matching = acrossField?.value === "1";
        chosen.textContent = ticked ? `${matching ? `All ${across.dataset.all}` : ticked} selected` : hint;
        all.checked = everything;
        all.indeterminate = ticked > 0 && !everything;
        if (across) {
            across.hidden = !everything || matching;
        }
        for (const button of bar.querySelectorAll(".verbs button")) {
            button.disabled = ticked === 0;
        }
    };

    all.addEventListener("change", () => {
        boxes.forEach((box) => { box.checked = all.checked; });
        show();
    });
    boxes.forEach((box, index) => {
        box.addEventListener("click", (event) => {
            if (event.shiftKey && last !== null) {
                const [from, to] = [Math.min(last, index), Math.max(last, index)];
                boxes.slice(from, to + 1).forEach((other) => { other.checked = box.checked; });
            }
            last = index;
            show();
        });
    });
    across?.addEventListener("click", () => {
        acrossField.value = "1";
        show();
    });
    window.addEventListener("pageshow", show);  // the browser may have kept ticks from before
    show();
}
