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

// Makes the heads of a table buttons. Returns what sorts it again, after its rows changed.
function sortable(table, changed = () => {}) {
  let original = [...table.tBodies].map((body) => [...body.rows]);
  const heads = [...lastRow(table.tHead).cells];

  function arrange() {
    const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    const sign = column >= 0 && heads[column].getAttribute("aria-sort") === "descending" ? -1 : 1;
    original.forEach((rows, k) => {
      const sorted = [...rows];
      if (column >= 0) sorted.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
      table.tBodies[k].append(...sorted);
    });
  }

  function order(column, wanted) {
    for (const head of heads) head.removeAttribute("aria-sort");
    if (wanted) heads[column].setAttribute("aria-sort", wanted);
    arrange();
  }

  heads.forEach((head, column) => {
    const label = head.querySelector(".sort");
    if (!label) return;
    const made = button("", () => {
      const wanted = nextOrder(head);
      order(column, wanted);
      said.textContent = wanted ? `Sorted, ${wanted}` : "In the first order again";
      changed();
    });
    made.className = "sort";
    made.append(...label.childNodes);
    label.replaceWith(made);
  });

  return {
    order,
    renew() {
      original = [...table.tBodies].map((body) => [...body.rows]);
      arrange();
    },
  };
}
