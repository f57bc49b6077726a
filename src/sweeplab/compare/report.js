"use strict";
const value = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent;
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("th");
    if (!head) return;
    const column = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map(row => [value(row, column), row]);
    const numeric = rows.every(([v]) => v === "" || v === "-" || !Number.isNaN(Number(v)));
    const none = v => v === "" || v === "-";
    rows.sort(([a], [b]) => none(a) || none(b) ? none(a) - none(b)
      : (down ? -1 : 1) * (numeric ? a - b : a.localeCompare(b)));
    body.append(...rows.map(([, row]) => row));
  });
}
const filter = document.querySelector("input");
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const row of document.querySelector("table.sorts").tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  }
});
