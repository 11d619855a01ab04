// How the identity servers are, as this node finds them. Looked at again while the view is open.

import { ask } from "./wire.mjs";
import { $, Table, badge, make, moment, problem } from "./parts.mjs";

const EVERY = 5000;
const BREAKER = { closed: ["asked", "active"], open: ["left alone", "refused"], half_open: ["being tried", "plain"] };

let table, timer;
let asked = 0;

export function start() {
  table = new Table($("realms-table"), "Identity servers of the realms", [
    { title: "Realm", cell: ({ name }) => name, kind: "name", head: true },
    { title: "Server", cell: ({ server }) => make("code", {}, server) },
    { title: "State", cell: ({ breaker }) => badge(...(BREAKER[breaker] ?? [breaker, "plain"])) },
    { title: "Questions", cell: ({ in_flight, waiting }) => `${in_flight} under way, ${waiting} waiting` },
    { title: "Last answer", cell: ({ last_answer }) => moment(last_answer), kind: "when" },
    { title: "Last failure", cell: ({ last_failure }) => [moment(last_failure?.at), last_failure ? make("span", { class: "muted small detail" }, last_failure.reason) : null] },
  ]);
}

export const show = () => look();

export function hide() {
  asked += 1;
  clearTimeout(timer);
}

export function forget() {
  hide();
  table.clear();
}

async function look() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const { realms } = await ask("/realms");
    if (mine !== asked) return;
    problem($("realms-problem"), null);
    table.show(realms.map((realm) => ({ id: realm.name, ...realm })));
    $("realms-empty").hidden = table.length > 0;
  } catch (error) {
    if (mine === asked) problem($("realms-problem"), error);
  }
  if (mine === asked) timer = setTimeout(look, EVERY);
}
