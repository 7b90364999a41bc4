// When the server has too much to do, the page says so and asks again by itself: the scan stays where it is, and what
// was clicked meanwhile follows in its order. Gradio alone would only say that something failed.

const AGAIN = [4000, 6000]; // milliseconds until the next try, between these, so that not all pages ask at once
const PATIENCE = 15 * 60_000; // milliseconds for which a page that was left open tries
const notice = document.createElement("section");
notice.className = "busy";
notice.setAttribute("role", "status");
notice.append(document.createElement("p"), document.createElement("button"));
notice.lastChild.type = "button";
notice.lastChild.textContent = "Don’t wait";
notice.hidden = true;
document.body.append(notice);
let turn = null; // a promise, while a question waits to be let in

const ask = window.fetch;
const joined = async (...question) => {
  const until = Date.now() + PATIENCE;
  let stopped = false;
  let done = null;
  try {
    for (;;) {
      while (turn && !done) await turn;
      const answer = await ask(...question);
      if (answer.status !== 503 || stopped || Date.now() > until) return answer;
      if (turn && !done) continue; // another one was faster to find the line full
      turn ??= new Promise((resolve) => (done = resolve));
      const { detail } = await answer.clone().json().catch(() => ({}));
      const reason = String(detail ?? "The server is busy.").replace(/ Please .*/, "");
      notice.firstChild.textContent = `${reason} This page asks again by itself.`;
      notice.hidden = false;
      await new Promise((resolve) => {
        notice.lastChild.onclick = () => resolve((stopped = true));
        setTimeout(resolve, AGAIN[0] + Math.random() * (AGAIN[1] - AGAIN[0]));
      });
      if (stopped) return answer;
    }
  } finally {
    if (done) {
      notice.hidden = true;
      turn = null;
      done();
    }
  }
};
window.fetch = (...question) => {
  const address = question[0]?.url ?? String(question[0]);
  return /\/queue\/join(\?|$)/.test(address) ? joined(...question) : ask(...question);
};
