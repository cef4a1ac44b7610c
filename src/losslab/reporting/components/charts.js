// Charts: the legend's buttons switch series; pointer, touch and arrow keys show the numbers at one x.
"use strict";
for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot");
  const svg = plot.querySelector("svg");
  const tip = plot.querySelector(".tip");
  const spoken = plot.querySelector(".unseen");
  const cursor = svg.querySelector(".cursor");
  const names = svg.dataset.at.split(" ");
  const numbers = (text) => text.split(" ").map((part) => (part === "-" ? null : Number(part)));
  const buttons = [...chart.querySelectorAll(".legend button")];
  const series = [...svg.querySelectorAll(".series")].map((group, index) => ({
    group,
    button: buttons[index],
    name: buttons[index].textContent,
    xs: numbers(group.dataset.xs),
    ys: numbers(group.dataset.ys),
    texts: group.dataset.texts.split(" "),
    shown: true,
  }));
  let at = -1;

  const draw = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return cursor.appendChild(element);
  };

  const hide = () => {
    at = -1;
    tip.hidden = true;
    cursor.replaceChildren();
  };

  const show = (index) => {
    const here = series.filter((one) => one.shown && one.xs[index] != null);
    if (here.length === 0) return;
    at = index;
    const x = here[0].xs[index];
    cursor.replaceChildren();
    draw("path", { d: `M${x} 44V252` });
    for (const one of here) draw("circle", { cx: one.xs[index], cy: one.ys[index], r: 4.5, class: one.group.getAttribute("class") });
    const title = document.createElement("b");
    title.textContent = `${svg.dataset.x.split(/[,(]/)[0].trim()} ${names[index]}`;
    const rows = here.map((one) => {
      const row = document.createElement("span");
      row.className = one.button.className;
      const swatch = document.createElement("i");
      const number = document.createElement("em");
      number.textContent = one.texts[index];
      row.append(swatch, one.name, number);
      return row;
    });
    tip.replaceChildren(title, ...rows);
    tip.hidden = false;
    const scale = plot.clientWidth / 480;
    const left = x * scale;
    tip.style.left = `${Math.max(0, Math.min(left > plot.clientWidth / 2 ? left - tip.offsetWidth - 10 : left + 10, plot.clientWidth - tip.offsetWidth))}px`;
    spoken.textContent = `${title.textContent}: ${here.map((one) => `${one.name} ${one.texts[index]}`).join(", ")}`;
  };

  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 480;
    let best = -1;
    let distance = Infinity;
    for (const one of series.filter((other) => other.shown)) {
      one.xs.forEach((place, index) => {
        if (place !== null && Math.abs(place - x) < distance) [best, distance] = [index, Math.abs(place - x)];
      });
    }
    if (best >= 0) show(best);
  };

  const step = (from, by) => {
    for (let index = from; index >= 0 && index < names.length; index += by) {
      if (series.some((one) => one.shown && one.xs[index] != null)) return show(index);
    }
  };

  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && document.activeElement !== plot && hide());
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const moves = {
      ArrowRight: () => step(at + 1, 1),
      ArrowLeft: () => step(at < 0 ? names.length - 1 : at - 1, -1),
      Home: () => step(0, 1),
      End: () => step(names.length - 1, -1),
      Escape: hide,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  });
  for (const one of series) {
    one.button.addEventListener("click", () => {
      one.shown = !one.shown;
      one.button.setAttribute("aria-pressed", String(one.shown));
      one.group.toggleAttribute("hidden", !one.shown);
      hide();
    });
  }
}
