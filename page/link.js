// Links to examples. The address bar leads to the example on show, and no further once there is a visitor's own scan.

const plainAddress = () => location.href.split(/[?#]/)[0];
document.addEventListener("octhub-scan", (event) => {
  const link = event.target.querySelector("[data-link]")?.dataset.link ?? "";
  history.replaceState(history.state, "", plainAddress() + link);
});

const copyLink = async (button) => {
  const link = plainAddress() + button.dataset.link;
  const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false); // not over plain HTTP
  button.textContent = copied ? "Link copied" : "See the address bar";
  setTimeout(() => (button.textContent = "Copy link"), 2500);
};
