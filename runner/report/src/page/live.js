// Keeps a page that is served up to date: what goes on every two seconds, the results when there are others.
"use strict";
(() => {
  const EVERY_MS = 2000;
  const parse = async (path) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };
  const take = (from, id) => {
    const fresh = document.adoptNode(from.getElementById(id));
    document.getElementById(id).replaceWith(fresh);
    return fresh;
  };
  // What a reader has opened stays open.
  const name = (it) => (it.closest("section")?.id || "") + it.querySelector("summary").textContent;
  let version = document.getElementById("now").dataset.version;

  async function look() {
    const lost = document.getElementById("lost");
    try {
      const now = take(await parse("now"), "now");
      if (now.dataset.version !== version) {
        const page = await parse("./");
        const open = new Set([...document.querySelectorAll("details[open]")].map(name));
        page.querySelectorAll("details").forEach((it) => { it.open = open.has(name(it)); });
        version = page.getElementById("now").dataset.version;
        take(page, "results");
      }
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
    setTimeout(look, EVERY_MS);
  }
  setTimeout(look, EVERY_MS);
})();
