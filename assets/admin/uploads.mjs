// Uploads of everybody: found, watched while they grow, cancelled and expired.
//
// What is shown is asked for again every two seconds while it changes, more and more rarely while it does not or while
// the service does not answer, and not at all while nobody looks.

import { act, ask } from "./wire.mjs";
import { $, Table, badge, button, bytes, confirm, make, moment, problem, say } from "./parts.mjs";

const SOON = 2_000;
const RARELY = 30_000;
const PAGE = 50;
const MOST = 200;

let table, timer, cursor;
let wait = SOON;
let open = false;
/** Counts what was asked, so that an answer to an older question is dropped. */
let asked = 0;
let before = "";

const filter = () => ({ search: $("uploads-search").value.trim(), state: $("uploads-state").value });

export function start() {
  table = new Table($("uploads-table"), "Uploads, newest first", [
    { title: "Name", cell: named, kind: "name", head: true },
    { title: "Owner", cell: ({ owner }) => owner?.username ?? make("span", { class: "muted" }, "nobody"), kind: "owner" },
    { title: "State", cell: ({ state }) => badge(state) },
    { title: "Progress", cell: progress, kind: "progress" },
    { title: "Created", cell: ({ created }) => moment(created), kind: "when" },
    { title: "Actions", cell: actions, kind: "deeds", hidden: true },
  ]);
  $("uploads-filter").addEventListener("submit", (event) => event.preventDefault());
  let typing;
  $("uploads-search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(renew, 250);
  });
  $("uploads-state").addEventListener("change", renew);
  $("uploads-more").addEventListener("click", more);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : open && renew()));
}

export function show() {
  open = true;
  return renew();
}

export function hide() {
  open = false;
  clearTimeout(timer);
}

export function forget() {
  hide();
  table.clear();
  $("uploads-search").value = "";
}

function renew() {
  wait = SOON;
  return look();
}

async function look() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const shown = Math.min(Math.max(table.length, PAGE), MOST);
    const { uploads, next_cursor } = await ask("/uploads", { ...filter(), limit: shown });
    if (mine !== asked || !open) return;
    problem($("uploads-problem"), null);
    table.show(uploads);
    cursor = next_cursor;
    $("uploads-more").hidden = !cursor;
    $("uploads-empty").hidden = uploads.length > 0;
    const now = JSON.stringify(uploads.map(({ id, state, offset }) => [id, state, offset]));
    wait = now === before ? Math.min(wait * 1.5, RARELY) : SOON;
    before = now;
  } catch (error) {
    if (mine !== asked || !open) return;
    problem($("uploads-problem"), error);
    wait = Math.min(wait * 2, RARELY);
  }
  if (open && !document.hidden) timer = setTimeout(look, wait);
}

async function more() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const { uploads, next_cursor } = await ask("/uploads", { ...filter(), limit: PAGE, cursor });
    if (mine !== asked) return;
    table.show(uploads, { keep: true });
    cursor = next_cursor;
    $("uploads-more").hidden = !cursor;
  } catch (error) {
    problem($("uploads-problem"), error);
  }
  if (open) timer = setTimeout(look, wait);
}

function named({ id, filename }) {
  return [make("span", { class: "filename" }, filename || "unnamed"), make("code", { class: "id" }, id)];
}

function progress({ filename, offset, size, percent, state }) {
  const facts = size === null ? `${bytes(offset)} so far` : state === "complete" ? bytes(size) : `${bytes(offset)} of ${bytes(size)}`;
  const bar = state === "receiving"
    ? make("progress", { max: 100, value: percent, "aria-label": `Progress of ${filename}` })
    : null;
  return [bar, make("span", { class: "facts" }, percent === null || state === "complete" ? facts : `${facts} · ${Math.floor(percent)}\u00a0%`)];
}

function actions(upload) {
  if (!["receiving", "complete"].includes(upload.state)) return null;
  return make("div", { class: "actions" },
    button("Cancel", upload.filename, () => end(upload, "cancel")), button("Expire", upload.filename, () => end(upload, "expire")));
}

async function end(upload, how) {
  const { id, filename, owner, state } = upload;
  const [title, word] = how === "cancel" ? ["Cancel this upload?", "Cancel upload"] : ["Expire this upload?", "Expire upload"];
  const whose = owner ? ` of ${owner.username}` : "";
  const lost = state === "complete" ? "Its content is removed." : "What was received is removed.";
  const text = [make("p", {}, make("strong", { class: "filename" }, filename), whose), `${lost} This cannot be undone.`];
  const done = await confirm(title, text, word, () => act(`/uploads/${id}/${how}`));
  if (!done) return;
  say(`${filename}: ${done.state}`);
  await renew();
}
