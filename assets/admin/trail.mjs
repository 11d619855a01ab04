// The trail: what operators did, newest first.

import { ask } from "./wire.mjs";
import { $, Table, badge, make, moment, problem } from "./parts.mjs";

const DEEDS = {
  "user.add": "added user",
  "user.disable": "disabled user",
  "user.enable": "enabled user",
  "user.promote": "made an operator of",
  "user.demote": "made an ordinary user of",
  "user.password": "set the password of",
  "key.create": "made a key of",
  "key.rotate": "rotated a key of",
  "key.revoke": "revoked a key of",
  "upload.cancel": "cancelled",
  "upload.expire": "expired",
};

let table, cursor;
let asked = 0;

export function start() {
  table = new Table($("trail-table"), "What operators did, newest first", [
    { title: "When", cell: ({ at }) => moment(at), kind: "when" },
    { title: "Who", cell: ({ operator, operator_id }) => [operator, operator_id ? null : make("span", { class: "muted small" }, " command line")] },
    { title: "Did", cell: ({ deed, object }) => [`${DEEDS[deed] ?? deed} `, make("strong", { class: "filename" }, object.name), object.id ? make("code", { class: "id" }, object.id) : null], kind: "name", head: true },
    { title: "Outcome", cell: ({ outcome, detail }) => [badge(outcome), detail ? make("span", { class: "muted small detail" }, detail) : null] },
  ]);
  $("trail-filter").addEventListener("submit", (event) => event.preventDefault());
  let typing;
  $("trail-search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(show, 250);
  });
  $("trail-more").addEventListener("click", () => look(cursor));
}

export const show = () => look(null);

export const hide = () => (asked += 1);

export function forget() {
  hide();
  table.clear();
  $("trail-search").value = "";
}

async function look(after) {
  const mine = ++asked;
  try {
    const found = await ask("/audit", { search: $("trail-search").value.trim(), limit: 50, cursor: after });
    if (mine !== asked) return;
    problem($("trail-problem"), null);
    table.show(found.entries, { keep: Boolean(after) });
    $("trail-empty").hidden = table.length > 0;
    cursor = found.next_cursor;
    $("trail-more").hidden = !cursor;
  } catch (error) {
    if (mine === asked) problem($("trail-problem"), error);
  }
}
