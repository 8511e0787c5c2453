// Filtering, sorting, comparing two, and staying up to date. What is chosen is kept in the address,
// so that it outlives a reload and can be sent to others.

const runs = document.getElementById("runs");
const table = runs.closest("table");
const text = document.getElementById("text");
const boxes = [...document.querySelectorAll("[name=state]")];
const contrast = document.getElementById("contrast");
const shown = document.getElementById("shown");
const embedded = JSON.parse(document.getElementById("numbers").textContent);
let chosen = [];
const sorting = sortable(table, remember);

const rowsNow = () => [...runs.rows];

// Filter: every word must stand in the row.

function filter() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const states = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let n = 0;
  for (const row of rowsNow()) {
    const content = row.textContent.toLowerCase();
    const fits = words.every((word) => content.includes(word));
    row.hidden = !fits || (states.size > 0 && !states.has(row.dataset.state));
    n += !row.hidden;
  }
  const all = rowsNow().length;
  shown.textContent = n === all ? `${all} runs` : `${n} of ${all} runs`;
  document.getElementById("empty").hidden = n > 0;
}

// Two are marked; a third takes the place of the first.

function mark() {
  const names = new Set(rowsNow().map((row) => row.dataset.name));
  chosen = chosen.filter((name) => names.has(name));
  for (const row of rowsNow()) {
    let box = row.cells[0].querySelector("input");
    if (!box) {
      box = document.createElement("input");
      box.type = "checkbox";
      box.setAttribute("aria-label", `Compare ${row.dataset.name}`);
      box.addEventListener("change", () => choose(row.dataset.name, box.checked));
      row.cells[0].append(box);
    }
    box.checked = chosen.includes(row.dataset.name);
  }
  contrast.disabled = chosen.length !== 2;
  contrast.textContent = ["Compare two: mark them", "Compare: mark another", "Compare the two"][chosen.length];
}

function choose(name, is) {
  chosen = chosen.filter((other) => other !== name);
  if (is) chosen = [...chosen.slice(-1), name];
  document.getElementById("two").hidden = true;
  mark();
  remember();
}

// The address

function remember() {
  const kept = new URLSearchParams();
  if (text.value) kept.set("q", text.value);
  for (const box of boxes) if (box.checked) kept.append("state", box.value);
  const head = table.querySelector("[aria-sort]");
  if (head) kept.set("sort", `${head.cellIndex} ${head.getAttribute("aria-sort")}`);
  for (const name of chosen) kept.append("run", name);
  if (!document.getElementById("two").hidden) kept.set("two", "1");
  history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname + location.search);
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  text.value = kept.get("q") ?? "";
  const states = kept.getAll("state");
  for (const box of boxes) box.checked = states.includes(box.value);
  const [column, way] = (kept.get("sort") ?? "").split(" ");
  const head = table.tHead.rows[0].cells[Number(column)];
  if (column && head && ["ascending", "descending"].includes(way)) sorting.order(Number(column), way);
  chosen = kept.getAll("run").slice(0, 2);
  mark();
  filter();
  if (kept.has("two") && chosen.length === 2) compareTwo();
}

// Two runs beside each other: the same rules as in gantlet view --compare.

async function dataOf(name) {
  if (document.body.dataset.live !== "serve") {
    if (!(name in embedded)) throw new Error(`The numbers of ${name} are not in this page: use gantlet view --compare, or --serve.`);
    return embedded[name];
  }
  const answer = await fetch(`numbers/${name.split("/").map(encodeURIComponent).join("/")}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function numbersOf(found) {
  return found.rows.map(([name, model, data, seed, value, low, high]) => ({
    name: found.names[name][0], unit: found.names[name][1],
    model: found.models[model][0], modelShort: found.models[model][1],
    data: found.data[data][0], dataShort: found.data[data][1],
    seed, value, low, high, real: found.models[model][0] === "real",
  }));
}

function pairUp(a, b) {
  const distinct = (numbers, part) => new Set(numbers.filter((n) => !n.real).map((n) => n[part])).size;
  const parts = ["model", "data", "seed"].filter((p) => Math.max(distinct(a, p), distinct(b, p)) > 1);
  const key = (n) => JSON.stringify([n.name, n.unit, n.real, ...parts.map((p) => n[p])]);
  const label = (n) => [
    ...(n.real ? ["real"] : []),
    ...parts.filter((p) => !(p === "model" && n.real))
      .map((p) => ({ model: n.modelShort, data: n.dataShort, seed: `seed ${n.seed ?? "None"}` })[p]),
    n.name,
  ].join(", ");
  const mine = new Map(a.map((n) => [key(n), n])), theirs = new Map(b.map((n) => [key(n), n]));
  const pairs = [];
  for (const [k, n] of mine) if (theirs.has(k)) pairs.push({ label: label(n), a: n, b: theirs.get(k) });
  return { pairs, onlyA: mine.size - pairs.length, onlyB: theirs.size - pairs.length };
}

// Options of another component say no more than its name.
function differing(a, b) {
  const differs = (k) => a[k] !== b[k];
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter(differs);
  return names.filter((k) => !(k.includes(":") && differs(k.slice(0, k.indexOf(":")))));
}

function intervals({ a, b }) {
  if (a.low === null || b.low === null) return "no interval";
  return a.low <= b.high && b.low <= a.high ? "overlap" : "do not overlap";
}

const minus = (written) => written.replace("-", "\u2212");

function digits(x, spread) {
  const size = Math.max(Math.abs(x), spread);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return minus(x.toPrecision(3));
  const unit = spread > 0 ? spread : Math.abs(x) / 100;
  const places = unit > 0 ? Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(unit)))) : 0;
  return minus(x.toFixed(places));
}

function written(n) {
  if (n.low === null) return [digits(n.value, 0), ""];
  const spread = (n.high - n.low) / 2;
  return [digits(n.value, spread), spread > 0 ? `${digits(n.low, spread)} to ${digits(n.high, spread)}` : ""];
}

function element(name, content, kind, sort) {
  const made = document.createElement(name);
  if (content !== undefined && content !== null) made.textContent = content;
  if (kind) made.className = kind;
  if (sort !== undefined) made.dataset.sort = sort;
  return made;
}

function tableOf(title, heads, rows) {
  const made = element("table"), head = element("tr"), body = element("tbody");
  made.append(element("caption", title), element("thead"), body);
  made.tHead.append(head);
  for (const [name, kind] of heads) {
    const cell = element("th", null, kind);
    cell.scope = "col";
    cell.append(element("span", name, "sort"));
    head.append(cell);
  }
  for (const cells of rows) {
    const row = element("tr");
    row.append(...cells);
    body.append(row);
  }
  const scroll = element("div", null, "scroll"), box = element("div", null, "table");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", title);
  scroll.append(made);
  box.append(element("h3", title), scroll);
  sortable(made);
  return box;
}

function numberCell(n) {
  const [value, spread] = written(n);
  const cell = element("td", value, "n", n.value);
  if (n.unit && n.unit !== "1") cell.append(element("span", ` ${n.unit}`, "unit"));
  if (spread) cell.append(element("small", spread));
  return cell;
}

function rowHead(content) {
  const made = element("th", content);
  made.scope = "row";
  return made;
}

async function compareTwo() {
  const section = document.getElementById("two"), place = document.getElementById("pairs");
  const claim = document.getElementById("claim"), names = [...chosen];
  section.hidden = false;
  place.replaceChildren();
  try {
    const [a, b] = await Promise.all(names.map(dataOf));
    const { pairs, onlyA, onlyB } = pairUp(numbersOf(a), numbersOf(b));
    const told = pairs.map(intervals), count = (what) => told.filter((t) => t === what).length;
    const alone = [[onlyA, names[0]], [onlyB, names[1]]].filter(([n]) => n > 0).map(([n, name]) => ` ${n} are in ${name} alone.`);
    claim.textContent = (pairs.length === 0 ? "No number is in both." : `${pairs.length} numbers are in both: the intervals of ${count("overlap")} overlap, of ${count("do not overlap")} they do not; ${count("no interval")} have no interval.`) + alone.join("");
    const settings = differing(a.settings, b.settings);
    place.append(settings.length
      ? tableOf("Settings that differ", ["setting", ...names].map((n) => [n, ""]), settings.map((k) => [rowHead(k), element("td", a.settings[k] ?? "\u2013"), element("td", b.settings[k] ?? "\u2013")]))
      : element("p", "No setting differs."));
    if (pairs.length) {
      const heads = [["number", ""], [names[0], "n"], [names[1], "n"], ["difference", "n"], ["intervals", ""]];
      place.append(tableOf("Numbers that both have", heads, pairs.map((pair, k) => {
        const difference = pair.b.value - pair.a.value;
        return [rowHead(pair.label), numberCell(pair.a), numberCell(pair.b), element("td", (difference > 0 ? "+" : "") + digits(difference, Math.abs(difference) / 10), "n", difference), element("td", told[k], told[k] === "do not overlap" ? "apart" : "")];
      })));
      place.append(element("p", `Difference: ${names[1]} minus ${names[0]}.`, "note"));
    }
  } catch (error) {
    claim.textContent = error.message;
  }
  remember();
}

contrast.addEventListener("click", async () => {
  await compareTwo();
  document.getElementById("two").scrollIntoView({ block: "start" });
});
text.addEventListener("input", () => { filter(); remember(); });
for (const box of boxes) box.addEventListener("change", () => { filter(); remember(); });
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("filter").hidden = false;
window.addEventListener("hashchange", recall);
recall();

// Staying up to date: a server is asked for what changed, a file is opened again.

let stamp = "";
const lastWritten = new Map();

// Rows that did not change stay as they are, with the focus that they may have.
function replaceRows(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const focused = document.activeElement.closest?.("tr[data-name]")?.dataset.name;
  const kept = new Map(rowsNow().map((row) => [row.dataset.name, row]));
  const rows = [...fresh.content.querySelectorAll("tr")].map((row) => {
    const { name } = row.dataset, content = row.outerHTML;
    const isSame = lastWritten.get(name) === content && kept.has(name);
    lastWritten.set(name, content);
    return isSame ? kept.get(name) : row;
  });
  runs.replaceChildren(...rows);
  sorting.renew();
  mark();
  filter();
  if (focused && !rows.includes(document.activeElement.closest("tr"))) {
    rows.find((row) => row.dataset.name === focused)?.querySelector("input")?.focus();
  }
}

async function renew() {
  try {
    const answer = await fetch(`rows?since=${encodeURIComponent(stamp)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const found = await answer.json();
    document.getElementById("glance").innerHTML = found.glance;
    if (found.stamp !== stamp) {
      stamp = found.stamp;
      replaceRows(found.rows);
      document.getElementById("remarks").hidden = !found.remarks;
      document.querySelector("#remarks ul").innerHTML = found.remarks;
    }
    setTimeout(renew, found.pause * 1000);
  } catch {
    const glance = document.getElementById("glance");
    glance.querySelector(".gone")?.remove();
    glance.append(element("span", "no longer live: the server does not answer", "gone"));
    setTimeout(renew, 15000);
  }
}

function reopen() {
  const isBusy = document.activeElement === text || document.hidden;
  if (isBusy) setTimeout(reopen, 2000);
  else location.reload();
}

if (document.body.dataset.live === "serve") setTimeout(renew, 1000);
if (document.body.dataset.live === "file") setTimeout(reopen, 5000);
