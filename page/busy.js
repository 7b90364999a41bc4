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
let last = Promise.resolve(); // fulfilled once every question so far was let in, or given up

const ask = window.fetch;
const joined = async (...question) => {
  const before = last;
  let done;
  last = new Promise((resolve) => (done = resolve));
  await before; // so that answers come in the order of the clicks
  const until = Date.now() + PATIENCE;
  let stopped = false;
  try {
    for (;;) {
      const answer = await ask(...question);
      if (answer.status !== 503 || stopped || Date.now() > until) return answer;
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
    notice.hidden = true;
    done();
  }
};
window.fetch = (...question) => {
  const address = question[0]?.url ?? String(question[0]);
  return /\/queue\/join(\?|$)/.test(address) ? joined(...question) : ask(...question);
};
