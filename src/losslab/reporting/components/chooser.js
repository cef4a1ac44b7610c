// Shows one of several parts: buttons choose among two or three, a list among more. Without this script all are shown.
for (const chooser of document.querySelectorAll(".chooser")) {
  const parts = [...chooser.querySelectorAll("[data-choice]")];
  if (parts.length < 2) continue;
  const bar = document.createElement("div");
  bar.className = "choices";
  const choose = (index) => parts.forEach((part, other) => (part.hidden = other !== index));
  if (parts.length > 3) {
    const label = document.createElement("label");
    const list = document.createElement("select");
    for (const part of parts) list.append(new Option(part.dataset.choice));
    list.addEventListener("change", () => choose(list.selectedIndex));
    label.append(`${chooser.dataset.label} `, list);
    bar.append(label);
  } else {
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", chooser.dataset.label);
    const buttons = parts.map((part, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = part.dataset.choice;
      button.setAttribute("aria-pressed", String(index === 0));
      button.addEventListener("click", () => {
        choose(index);
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      });
      return button;
    });
    bar.append(...buttons);
  }
  chooser.prepend(bar);
  choose(0);
}
