
"use strict";
(() => {
  const LABELS = ["Row", "Line", "Model", "Size", "Image", "Cost", "Time", "Request id", "Error"];
  const FOUND = ["Size", "Request id", "Error"]; // by the filter, beside what a card shows
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = find(".filter");
  const view = find(".view");
  const picture = find(".stage img");
  const grid = find(".grid");
  const cards = all(".card");
  const rows = all(".row");
  const items = [...cards, ...rows];
  const numbers = new Intl.NumberFormat("en");
  let shown = cards;
  let current = -1;
  let texts = null;

  // --- the filter

  // Not the bytes and seconds, which a number would find by chance.
  function textOf(item) {
    const facts = JSON.parse(item.dataset.facts ?? "[]");
    return [item.textContent, ...FOUND.map((label) => facts[LABELS.indexOf(label)])].join(" ");
  }


  function index() {
    const reasons = new Map();
    for (const reason of all(".reason")) reasons.set(reason, `${find(".about", reason).textContent} ${find(".kind", reason).textContent}`);
    texts = items.map((item) => {
      const reason = reasons.get(item.closest(".reason")) ?? "";
      return `${textOf(item)} ${reason}`.normalize("NFC").toLowerCase();
    });
  }

  function matcher() {
    const words = form.text.value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
    const state = form.state.value;
    if (words.length && !texts) index();
    return (item, place) =>
      (!state || item.dataset.state === state) && words.every((word) => texts[place].includes(word));
  }

  function filter() {
    const matches = matcher();
    items.forEach((item, place) => {
      const fits = matches(item, place);
      if (item.hidden === fits) item.hidden = !fits;
    });
    shown = cards.filter((card) => !card.hidden);
    summarise(shown.length, rows.filter((row) => !row.hidden).length);
  }

  const counted = (count, all, noun) =>
    `${numbers.format(count)}${count === all ? "" : ` of ${numbers.format(all)}`} ${noun}${all === 1 ? "" : "s"}`;

  function summarise(pictures, troubles) {
    const narrowed = Boolean(form.text.value.trim());
    for (const reason of all(".reason")) summariseReason(reason, narrowed);
    for (const section of all("main > section")) {
      section.hidden = section.id !== "pictures" && !find(".reason:not([hidden])", section);
    }
    form.count.value = [
      counted(pictures, cards.length, "picture"),
      ...(rows.length ? [`${counted(troubles, rows.length, "row")} listed`] : []),
    ].join(", ");
    find("#pictures h2").hidden = !pictures;
    find(".nothing").hidden = pictures + troubles > 0 || !items.length;
  }

  function summariseReason(reason, narrowed) {
    const inside = all(".row", reason);
    const left = inside.filter((row) => !row.hidden).length;
    const details = find("details", reason);
    reason.hidden = !left;
    find(".left", reason).textContent = left === inside.length ? "" : `${numbers.format(left)} of `;
    if (narrowed && details.dataset.was === undefined) details.dataset.was = details.open ? "open" : "";
    if (narrowed) details.open = left > 0;
    else if (details.dataset.was !== undefined) {
      details.open = details.dataset.was === "open";
      delete details.dataset.was;
    }
  }

  let waiting = 0;
  function filterSoon() {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  }

  // --- the full-size view

  function show(place) {
    if (!shown[place]) return;
    current = place;
    const card = shown[place];
    const link = find(".shot", card);
    const facts = JSON.parse(card.dataset.facts);
    find(".broken").hidden = true;
    picture.hidden = false;
    picture.alt = link.dataset.alt ?? find("img", link)?.alt ?? "";
    picture.src = link.href;
    find(".place").textContent = `${numbers.format(place + 1)} of ${numbers.format(shown.length)}`;
    find(".text .prompt").textContent = find(".prompt", card).textContent;
    find(".text dl").replaceChildren(...facts.flatMap(describe));
    find(".text").scrollTop = 0;
    find(".file").href = link.href;
    if (!view.open) {
      view.showModal();
      find(".stage").focus(); // not the first button, which people would take for chosen
    }
    if (shown[place + 1]) new Image().src = find(".shot", shown[place + 1]).href;
  }

  function describe(fact, place) {
    if (!fact) return [];
    const [label, value] = ["dt", "dd"].map((name) => document.createElement(name));
    label.textContent = LABELS[place];
    value.textContent = fact;
    value.dir = "auto";
    return [label, value];
  }

  function step(by) {
    show(Math.min(Math.max(current + by, 0), shown.length - 1));
  }

  function closed() {
    picture.removeAttribute("src");
    focusCard(current);
  }

  // --- moving about

  function focusCard(place) {
    const card = shown[place];
    if (!card) return;
    find(".shot", card).focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  function moved(key, place) {
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    if (key === "Home") return 0;
    if (key === "End") return shown.length - 1;
    return by && Math.min(Math.max(place + by, 0), shown.length - 1);
  }

  function keyInPage(event) {
    const typing = event.target.matches("input[type=search], textarea, select");
    if (event.key === "/" && !typing) {
      form.text.select();
      form.text.focus();
    } else if (event.target.matches(".shot")) {
      const to = moved(event.key, shown.indexOf(event.target.closest(".card")));
      if (to === undefined) return;
      focusCard(to);
    } else if (typing && event.key === "ArrowDown" && shown.length) {
      focusCard(0);
    } else return;
    event.preventDefault();
  }

  function keyInView(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    step(by);
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (view.open) keyInView(event);
    else keyInPage(event);
  }

  function clicked(event) {
    const link = event.target.closest(".shot");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    show(shown.indexOf(link.closest(".card")));
  }

  function broken(event) {
    if (!(event.target instanceof HTMLImageElement)) return;
    const note = document.createElement("span");
    note.textContent = "cannot be shown";
    event.target.replaceWith(note);
  }

  function swipes(stage) {
    let from = null;
    stage.addEventListener("pointerdown", (event) => { from = event.pointerType === "touch" ? event.clientX : null; });
    stage.addEventListener("pointerup", (event) => {
      const way = from === null ? 0 : event.clientX - from;
      if (Math.abs(way) > 48) step(way < 0 ? 1 : -1);
      from = null;
    });
  }

  form.hidden = find(".keys").hidden = false;
  form.addEventListener("submit", (event) => { event.preventDefault(); filter(); focusCard(0); });
  form.addEventListener("input", (event) => (event.target === form.text ? filterSoon() : filter()));
  document.addEventListener("keydown", key);
  grid.addEventListener("click", clicked);
  grid.addEventListener("error", broken, true);
  picture.addEventListener("error", () => { find(".broken").hidden = false; picture.hidden = true; });
  view.addEventListener("close", closed);
  view.addEventListener("click", (event) => {
    const button = event.target.closest("button")?.name;
    if (button === "close") view.close();
    else if (button) step(button === "next" ? 1 : -1);
  });
  swipes(find(".stage"));
  filter(); // a page that was reloaded keeps what was typed
})();
