// Headings of a sortable table become buttons; rows without a number come last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const key = (row, index) => row.cells[index].dataset.sort ?? row.cells[index].textContent.trim().toLowerCase();
  headings.forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") ? heading.getAttribute("aria-sort") === "ascending" : index > 0;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [first, second] = [key(a, index), key(b, index)];
        if (first === "" || second === "") return (first === "") - (second === "");
        const order = index === 0 ? first.localeCompare(second) : first - second;
        return descending ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
