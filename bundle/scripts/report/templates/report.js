"use strict";
// Tables sort by the value of a column; cells without a value stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
        head.querySelector("button").addEventListener("click", () => sortTable(table, heads, column));
    });
}

function sortTable(table, heads, column) {
    const head = heads[column];
    const numeric = head.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compareCells(a.cells[column], b.cells[column], numeric, sign));
    table.tBodies[0].append(...rows);
}

function compareCells(a, b, numeric, sign) {
    const [x, y] = [a.dataset.order, b.dataset.order];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
}
