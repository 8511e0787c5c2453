"use strict";
// Comforts only: without this script the page is whole.

const said = document.createElement("p");
said.className = "said";
said.setAttribute("role", "status");
document.body.append(said);

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", () => action(made));
  return made;
}

// Sorting: best first, then the other way round, then as it was.

function compare(a, b, sign) {
  const x = a.dataset.sort, y = b.dataset.sort;
  if (x === undefined || y === undefined) {
    // What is missing stays last, whichever way.
    if (x !== y) return x === undefined ? 1 : -1;
    return sign * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
  }
  return sign * (Number(x) - Number(y));
}

function nextOrder(head) {
  const isNumber = head.classList.contains("n");
  const first = isNumber && head.dataset.better !== "lower" ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const now = head.getAttribute("aria-sort");
  return now === null ? first : now === first ? second : null;
}

// Above the last row of a head stand the names of groups.
function lastRow(head) {
  return head.rows[head.rows.length - 1];
}

function sortBy(table, original, column) {
  const heads = lastRow(table.tHead).cells;
  const order = nextOrder(heads[column]);
  for (const head of heads) head.removeAttribute("aria-sort");
  if (order) heads[column].setAttribute("aria-sort", order);
  const sign = order === "descending" ? -1 : 1;
  original.forEach((rows, k) => {
    const sorted = [...rows];
    if (order) sorted.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
    table.tBodies[k].append(...sorted);
  });
  said.textContent = order ? `Sorted, ${order}` : "In the first order again";
}

for (const table of document.querySelectorAll("table")) {
  const original = [...table.tBodies].map((body) => [...body.rows]);
  [...lastRow(table.tHead).cells].forEach((head, column) => {
    const label = head.querySelector(".sort");
    const made = button("", () => sortBy(table, original, column));
    made.className = "sort";
    made.append(...label.childNodes);
    label.replaceWith(made);
  });
}

// Wide tables say that they scroll.

const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    target.parentElement.classList.add("measured");
    target.parentElement.classList.toggle("wide", target.scrollWidth > target.clientWidth + 1);
  }
});
for (const box of document.querySelectorAll(".scroll")) watch.observe(box);

// A link to what is folded unfolds it.

function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target; one; one = one.parentElement) {
    if (one.tagName === "DETAILS") one.open = true;
  }
}
window.addEventListener("hashchange", unfold);
unfold();

// Copying

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed: the old way may be.
    }
  }
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

for (const block of document.querySelectorAll(".table")) {
  const tools = document.createElement("p");
  tools.className = "tools";
  for (const source of block.querySelectorAll("template")) {
    const label = `Copy as ${source.dataset.copy}`;
    tools.append(button(label, async (made) => {
      const done = await copy(source.content.textContent);
      made.textContent = said.textContent = done ? "Copied" : "The browser did not allow it";
      setTimeout(() => { made.textContent = label; }, 1500);
    }));
  }
  block.append(tools);
}

// Downloading

document.getElementById("tools").append(button("Download report.json", () => {
  const text = document.getElementById("report").textContent;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "report.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}));

// On paper everything is unfolded but the numbers behind the charts.

let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open], .numbers, .zoom)")];
  for (const one of folded) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
