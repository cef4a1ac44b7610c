// Shaded tables: the counts behind a cell appear below. One cell is in the tab order, arrow keys move to the others.
for (const heat of document.querySelectorAll(".heat")) {
  const detail = heat.querySelector(".detail");
  const rows = [...heat.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")]);
  const cells = rows.flat();
  if (cells.length === 0) continue;
  const hint = "Tap or focus a cell to see the counts behind it.";
  detail.textContent = hint;
  const show = (cell) => {
    for (const other of cells) other.classList.toggle("chosen", other === cell);
    detail.textContent = cell ? cell.dataset.detail : hint;
  };
  const focusable = (cell) => cells.forEach((other) => (other.tabIndex = other === cell ? 0 : -1));
  focusable(cells[0]);
  const table = heat.querySelector("tbody");
  table.addEventListener("pointerover", (event) => event.target.dataset.detail && show(event.target));
  table.addEventListener("pointerleave", () => show(cells.find((cell) => cell === document.activeElement)));
  table.addEventListener("click", (event) => event.target.dataset.detail && event.target.focus());
  table.addEventListener("focusin", (event) => {
    focusable(event.target);
    show(event.target);
  });
  table.addEventListener("focusout", () => show(undefined));
  table.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const row = rows.findIndex((one) => one.includes(event.target));
    const next = rows[row + steps[event.key][0]]?.[rows[row].indexOf(event.target) + steps[event.key][1]];
    next?.focus();
  });
}
