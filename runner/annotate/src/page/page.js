// The page of `kun annotate`, served or alone in one file. All text is set as text, never as markup.
"use strict";
(() => {
  const WORDS = {
    en: { send: "Send", undo: "Undo", skip: "Skip", note: "Note", guide: "Guidelines", other: "中文", close: "Close",
      left: "Left", right: "Right", done: "All done. Thank you.", lost: "Not sent: the server cannot be reached. Your answers are still here; send again.",
      stale: "This was answered already, perhaps in another window. Here is what comes next.", refused: "Not taken: ",
      missing: "Please answer every question, or skip.", save: "Save answers", about: "about", min: "min left",
      saved: "Send the saved file back to who gave you this page.", adj: "disputed",
      stopped: "Votes do not count at the moment: the file of this study was changed on the server, or cannot be written. Please tell whoever gave you this link.",
      kept: "Not counted yet. Your answer is kept aside on the server and stays on this page; send it again later." },
    zh: { send: "提交", undo: "撤销", skip: "跳过", note: "备注", guide: "说明", other: "English", close: "关闭",
      left: "左", right: "右", done: "全部完成，谢谢。", lost: "未提交：无法连接服务器。答案仍在本页，请重新提交。",
      stale: "该条目已回答（可能在另一个窗口）。现在是下一条。", refused: "未接受：",
      missing: "请回答所有问题，或跳过。", save: "保存答案", about: "约剩", min: "分钟",
      saved: "请把保存的文件发回给提供本页面的人。", adj: "有分歧",
      stopped: "目前的提交暂不计入：服务器上的研究文件被改动或无法写入。请告知给您此链接的人。",
      kept: "尚未计入。您的答案已在服务器上另行保存，也仍留在本页；请稍后重新提交。" },
  };
  const IDLE_MS = 60000;
  const app = document.getElementById("app");
  const data = document.getElementById("data");
  const alone = data ? JSON.parse(data.textContent) : null;
  const store = (() => { try { localStorage.getItem("x"); return localStorage; } catch { return null; } })();
  const read = (key) => { try { return JSON.parse(store.getItem(key)); } catch { return null; } };
  const keep = (key, value) => { try { store.setItem(key, JSON.stringify(value)); return true; } catch { return false; } };

  let language = read("kun-language") || (navigator.language.startsWith("zh") ? "zh" : "en");
  let sheet = null, state = null, given = {}, note = "", at = 0, message = "", busy = false, noting = false, stopped = false;
  let ms = 0, seen = Date.now(), active = Date.now(), spent = [];

  const t = (key) => WORDS[language][key];
  const said = (words) => words[language] || words.en || words.zh || "";
  const draftKey = () => "kun-draft " + location.pathname + (alone ? alone.study + alone.name : "");

  function element(tag, attributes, ...inside) {
    const it = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) it.addEventListener(name.slice(2), value);
      else if (value !== null) it.setAttribute(name, value);
    }
    it.append(...inside);
    return it;
  }

  // How long the task is looked at: not while the page is hidden, and not where nothing moves.
  function tick() {
    const now = Date.now();
    if (!document.hidden && now - active < IDLE_MS) ms += Math.min(now - seen, 2000);
    seen = now;
  }
  setInterval(tick, 1000);
  for (const it of ["keydown", "pointerdown", "pointermove", "scroll"]) {
    addEventListener(it, () => { active = Date.now(); }, { passive: true });
  }

  // Where answers go: to the server, or into this browser.
  const far = {
    async state() { return take(await fetch(location.pathname + "/state")); },
    async did(body) {
      const it = await take(await fetch(location.pathname + "/did",
        { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
      return { ...it, kept: it.stopped && !body.undo };
    },
  };
  // 503: votes do not count. The state is as it was, so that what was chosen stays on the screen.
  async function take(response) {
    if ([200, 409, 503].includes(response.status)) {
      return { ...(await response.json()), stale: response.status === 409, stopped: response.status === 503 };
    }
    throw Object.assign(new Error(await response.text()), { told: true });
  }
  const near = {
    key: () => "kun-answers " + alone.study + " " + alone.name,
    all: [],
    read() { return store ? read(near.key()) || [] : near.all; },
    async state() {
      const all = near.read(), done = new Set(all.map((it) => it.place));
      const back = near.back && alone.tasks.find((it) => it.place === near.back.place && !done.has(it.place));
      let task = back || alone.tasks.find((it) => !done.has(it.place)) || null;
      if (task && back) task = { ...task, before: near.back.given.answers || null, note: near.back.given.note };
      return { sheet: alone.sheet, stale: false, state: { name: alone.name, seq: all.length, done: all.length,
        total: alone.tasks.length, can_undo: all.length > 0, task } };
    },
    async did(body) {
      const all = near.read();
      if (all.length !== body.seq) return { ...(await near.state()), stale: true };
      if (body.undo) near.back = all.pop();
      else { all.push({ place: body.place, given: body.given }); near.back = null; }
      near.all = all;
      if (store && !keep(near.key(), all)) throw Object.assign(new Error("this browser keeps nothing"), { told: true });
      return near.state();
    },
  };
  const place = alone ? near : far;

  function accept(it) {
    const before = state && state.task && state.task.place, fresh = it.state.task && it.state.task.place;
    const same = state && before === fresh && state.seq === it.state.seq;
    sheet = it.sheet; state = it.state;
    if (same) return;
    ms = 0; seen = active = Date.now(); at = 0; noting = false; given = {}; note = "";
    if (!state.task) return;
    given = { ...(state.task.before || {}) }; note = state.task.note || "";
    const draft = read(draftKey());
    if (draft && draft.place === state.task.place && draft.seq === state.seq) { given = draft.given; note = draft.note; }
    noting = note !== "";
  }
  function draft() { if (state.task) keep(draftKey(), { place: state.task.place, seq: state.seq, given, note }); }

  async function ask(what) {
    if (busy) return;
    busy = true; message = "";
    try {
      const it = await what();
      accept(it);
      stopped = Boolean(it.stopped);
      if (it.stale) message = t("stale");
      if (it.kept) message = t("kept");
    } catch (error) { message = error.told ? t("refused") + error.message : t("lost"); }
    busy = false;
    draw();
  }
  const missing = () => sheet.questions.findIndex((it) => !(it.id in given));
  function send(answers) {
    if (busy || !state.task) return;
    tick();
    if (answers && missing() >= 0) { at = missing(); message = t("missing"); draw(); return; }
    spent.push(ms); if (spent.length > 20) spent.shift();
    const what = answers ? { answers: { ...given }, note, ms } : { note, ms };
    ask(() => place.did({ seq: state.seq, place: state.task.place, given: what }));
  }
  const undo = () => { if (state.can_undo) ask(() => place.did({ seq: state.seq, undo: true })); };
  function choose(question, choice) {
    if (busy || !state.task) return;
    given[sheet.questions[question].id] = choice;
    draft();
    if (sheet.questions.length === 1) { send(true); return; }
    at = Math.min(question + 1, sheet.questions.length - 1);
    message = "";
    draw();
  }
  function save() {
    const text = JSON.stringify({ study: alone.study, name: alone.name, secret: alone.secret, said: near.read() });
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })),
      download: "answers-" + alone.name + ".json" });
    document.body.append(link); link.click(); link.remove();
    message = t("saved"); draw();
  }
  function guide() {
    const close = element("button", { class: "main", onclick: () => it.close() }, t("close"));
    const it = element("dialog", { "aria-label": t("guide"), onclose: () => it.remove() },
      element("div", { class: "text" }, said(sheet.guidelines).trim()), element("p", {}, close));
    document.body.append(it); it.showModal();
  }
  function speak() { language = language === "en" ? "zh" : "en"; keep("kun-language", language); draw(); }
  function write() { noting = true; draw(); const it = document.getElementById("note-text"); if (it) it.focus(); }

  function left() {
    if (spent.length < 3 || !state.task) return "";
    const sorted = [...spent].sort((a, b) => a - b), median = sorted[Math.floor(sorted.length / 2)];
    return " · " + t("about") + " " + Math.ceil(median * (state.total - state.done) / 60000) + " " + t("min");
  }
  function card(label, text) {
    return element("section", { class: "card" }, element("h2", {}, label), element("div", { class: "text" }, text));
  }
  function question(it, i) {
    const single = sheet.questions.length === 1;
    const one = ([id, text], n) => element("button", { type: "button", "data-choice": id,
      "aria-pressed": String(given[it.id] === id), onclick: () => choose(i, id) },
      said(text) || id, i === at ? element("kbd", {}, String(n + 1)) : "");
    return element("fieldset", { class: i === at && !single ? "now" : null, "data-question": it.id },
      element("legend", {}, said(it.text) || it.id), element("div", { class: "choices" }, ...it.choices.map(one)));
  }
  function button(name, key, what, off, main) {
    return element("button", { type: "button", id: name, class: main ? "main" : null, onclick: what,
      ...(off ? { disabled: "" } : {}) }, t(name), element("kbd", {}, key));
  }
  function draw() {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    if (!state) { app.replaceChildren(element("p", { role: "status", class: "said" }, message)); return; }
    const title = said(sheet.title), task = state.task;
    document.title = title || "kun";
    const parts = [
      element("header", {}, element("h1", {}, title),
        element("span", { class: "where" }, state.name + " · " + state.done + " / " + state.total +
          (state.adjudicates ? " " + t("adj") : "") + left()),
        element("button", { type: "button", id: "guide", onclick: guide }, t("guide"), element("kbd", {}, "g")),
        element("button", { type: "button", id: "other", onclick: speak }, t("other"), element("kbd", {}, "l"))),
      element("progress", { max: Math.max(state.total, 1), value: state.done, "aria-label": state.done + " / " + state.total }),
      ...(stopped ? [element("p", { role: "alert", class: "card stopped" }, t("stopped"))] : []),
      element("p", { role: "status", class: "said" }, message),
    ];
    if (!task) parts.push(element("p", { class: "card", id: "done" }, t("done")));
    else {
      task.shown.forEach((text, i) => parts.push(card(said(sheet.labels[i]), text)));
      if (task.sides.length) {
        parts.push(element("div", { class: "sides" }, card(t("left"), task.sides[0]), card(t("right"), task.sides[1])));
      }
      parts.push(...sheet.questions.map(question));
      if (noting) {
        const area = element("textarea", { id: "note-text", "aria-label": t("note"), maxlength: "4000",
          oninput: (event) => { note = event.target.value; draft(); } });
        area.value = note;
        parts.push(area);
      }
    }
    parts.push(element("footer", {},
      button("undo", "u", undo, busy || !state.can_undo), button("skip", "s", () => send(false), busy || !task),
      button("note", "n", write, busy || !task), button("send", "↵", () => send(true), busy || !task, true),
      ...(alone ? [button("save", "w", save, false)] : [])));
    app.replaceChildren(...parts);
    const area = document.getElementById("note-text");
    if (noting && area && document.activeElement === document.body && note === "") area.focus();
  }

  addEventListener("keydown", (event) => {
    if (!state || document.querySelector("dialog")) return;
    const writing = event.target.tagName === "TEXTAREA";
    if (writing && event.key === "Escape") { event.target.blur(); return; }
    if (writing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(true); return; }
    if (writing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    const n = Number(event.key), now = state.task && sheet.questions[at];
    const does = { u: undo, s: () => send(false), n: write, g: guide, l: speak, w: alone ? save : null, Enter: () => send(true),
      ArrowUp: () => { at = Math.max(at - 1, 0); draw(); },
      ArrowDown: () => { at = Math.min(at + 1, sheet.questions.length - 1); draw(); } }[event.key];
    if (now && n >= 1 && n <= now.choices.length) { event.preventDefault(); choose(at, now.choices[n - 1][0]); }
    else if (does && !(event.key === "Enter" && event.target.tagName === "BUTTON" && !event.target.dataset.choice)) {
      event.preventDefault(); does();
    }
  });
  document.addEventListener("visibilitychange", () => {
    tick();
    if (!document.hidden && !alone && state) ask(() => far.state());
  });
  ask(() => place.state());
})();
