// The viewer enlarges an example and paints it from its label maps, so that classes can be hidden.
{
  const viewer = document.getElementById("viewer");
  const examples = [...document.querySelectorAll(".example")];
  let current = -1;
  let opener = null;
  let shown = null;

  const find = (selector) => viewer.querySelector(selector);
  const findCanvas = (kind) => find(`[data-kind="${kind}"] canvas`);

  const paint = () => {
    if (!shown) return;
    const { photo, truth, prediction, width, height } = shown;
    const boxes = [...viewer.querySelectorAll(".classes input")];
    const colours = boxes.map((box) => box.dataset.colour.split(",").map(Number));
    const visible = (label) => label < boxes.length && boxes[label].checked;
    const error = viewer.dataset.error.split(",").map(Number);
    const voidLabel = viewer.dataset.void === "" ? -1 : Number(viewer.dataset.void);
    const opacity = Number(find(".opacity").value) / 100;
    const coloured = find(".wrong").value;

    const over = (kind, pale, pick) => {
      const canvas = findCanvas(kind);
      [canvas.width, canvas.height] = [width, height];
      const context = canvas.getContext("2d");
      context.drawImage(photo, 0, 0, width, height);
      if (pale) {
        context.globalCompositeOperation = "saturation"; // with a grey: Safari's canvas has no filters
        context.fillStyle = "rgb(128 128 128)";
        context.fillRect(0, 0, width, height);
        context.globalCompositeOperation = "source-over";
        context.fillStyle = "rgb(255 255 255 / 50%)";
        context.fillRect(0, 0, width, height);
      }
      if (!pick) return;
      const layer = new OffscreenCanvas(width, height);
      const pixels = new ImageData(width, height);
      for (let index = 0; index < truth.length; index += 1) {
        const colour = pick(index);
        if (!colour) continue;
        pixels.data.set(colour, 4 * index);
        pixels.data[4 * index + 3] = 255;
      }
      layer.getContext("2d").putImageData(pixels, 0, 0);
      context.globalAlpha = pale ? Math.min(1, opacity + 0.3) : opacity;
      context.drawImage(layer, 0, 0);
      context.globalAlpha = 1;
    };

    over("image", false, null);
    over("truth", false, (index) => visible(truth[index]) && colours[truth[index]]);
    over("prediction", false, (index) => visible(prediction[index]) && colours[prediction[index]]);
    over("errors", true, (index) => {
      const [is, called] = [truth[index], prediction[index]];
      if (is === called || is === voidLabel || !(visible(is) || visible(called))) return null;
      return { one: error, truth: colours[is], prediction: colours[called] }[coloured];
    });
  };

  const loadImage = (uri) =>
    new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = reject;
      image.src = uri;
    });

  const open = async (index) => {
    current = (index + examples.length) % examples.length;
    const example = examples[current];
    find("#viewer-title").textContent = example.dataset.name;
    find(".score").textContent = `${example.dataset.score} · ${current + 1} of ${examples.length}`;
    const source = (kind) => example.querySelector(`img.${kind}`).src;
    const [photo, truth, prediction] = await Promise.all([
      loadImage(example.style.getPropertyValue("--photo").trim().replace(/^url\(["']?|["']?\)$/g, "")),
      readLabels(source("truth")),
      readLabels(source("prediction")),
    ]);
    if (examples[current] !== example) return; // the reader has gone on meanwhile
    shown = { photo, truth, prediction, width: Number(example.dataset.width), height: Number(example.dataset.height) };
    viewer.style.setProperty("--shape", `${shown.width}/${shown.height}`);
    paint();
    viewer.dataset.shown = example.dataset.name;
  };

  if (viewer) {
    examples.forEach((example, index) =>
      example.addEventListener("click", () => {
        opener = example;
        viewer.showModal();
        open(index);
      }),
    );
    find(".close").addEventListener("click", () => viewer.close());
    viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
    viewer.addEventListener("close", () => opener?.focus());
    viewer.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || event.target.matches("input[type=range], select")) return; // arrows move these
      event.preventDefault();
      open(current + step);
    });
    for (const button of viewer.querySelectorAll(".step")) button.addEventListener("click", () => open(current + Number(button.dataset.step)));
    for (const control of viewer.querySelectorAll("input, select")) control.addEventListener("input", paint);
    const views = [...viewer.querySelectorAll("[data-view][aria-pressed]")];
    const setView = (view) => {
      find(".canvases").dataset.view = view;
      views.forEach((other) => other.setAttribute("aria-pressed", String(other.dataset.view === view)));
    };
    for (const button of views) button.addEventListener("click", () => setView(button.dataset.view));
    for (const figure of viewer.querySelectorAll(".canvases figure")) {
      figure.addEventListener("click", () => setView(find(".canvases").dataset.view === "all" ? figure.dataset.kind : "all"));
    }
  }
}
