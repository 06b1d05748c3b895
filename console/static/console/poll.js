// Asking the server again and again: every three seconds, and at once when the tab is shown again; not while it is hidden.
const SECONDS = 3;

/** Call `ask` until it returns true. What it throws is passed over: the server may be away for a moment. */
export function poll(ask) {
    let isOver = false;

    async function turn() {
        if (document.hidden || isOver) {
            return;
        }
        try {
            isOver = await ask() === true;
        } catch {
            // The next turn asks again.
        }
    }

    async function round() {
        await turn();
        if (!isOver) {
            setTimeout(round, SECONDS * 1000);
        }
    }

    setTimeout(round, SECONDS * 1000);
    document.addEventListener("visibilitychange", turn);
}

/** The server's good answer, or null. Who was logged out meanwhile is sent to the login. */
export async function answerOf(url, headers) {
    const answer = await fetch(url, { headers });
    if (answer.redirected) {
        location.reload();
    }
    return answer.ok && !answer.redirected ? answer : null;
}
