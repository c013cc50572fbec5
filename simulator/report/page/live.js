// A live page: asks now and then whether there is a newer one than itself, and loads that.
setInterval(async () => {
  if (document.querySelector("dialog[open]")) return;
  try {
    const answer = await fetch("version");
    if (answer.ok && (await answer.text()) !== document.documentElement.dataset.version) location.reload();
  } catch { /* the server has ended: the page stays as it is */ }
}, 3000);
