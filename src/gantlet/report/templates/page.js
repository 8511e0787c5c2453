for (const table of document.querySelectorAll("table")) sortable(table);

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

for (const block of document.querySelectorAll(".table, .copied")) {
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
