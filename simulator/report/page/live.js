// A live page: asks now and then whether the run has more rows, and loads itself again.
(() => {
  let known = null;
  setInterval(async () => {
    if (document.querySelector("dialog[open]")) return;
    try {
      const now = await (await fetch("version")).text();
      if (known !== null && now !== known) location.reload();
      known = now;
    } catch { /* the server has ended: the page stays as it is */ }
  }, 3000);
})();
