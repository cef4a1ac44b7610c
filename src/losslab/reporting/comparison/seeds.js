// A name above a chart switches the thin lines of its seeds too; their own buttons are not shown.
for (const legend of document.querySelectorAll(".legend")) {
  const all = [...legend.querySelectorAll("button")];
  for (const button of all.filter((one) => !one.classList.contains("seed"))) {
    const seeds = all.filter((one) => one.classList.contains("seed") && one.textContent === button.textContent);
    button.addEventListener("click", () => seeds.forEach((seed) => seed.click()));
  }
}
