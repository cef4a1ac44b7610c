// Selectors → contrast of each one's text with what is behind it, as WCAG 2 counts it.
(selectors) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 250) return colour;
    }
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element) => {
    const [text, page] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
    return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
  };
  return Object.fromEntries(selectors.map((selector) => [selector, contrast(document.querySelector(selector))]));
}
