// Names and roles that Gradio leaves out, for screen readers. Parts come and go, so they are named whenever the page changes.
(() => {
  const live = { status: "polite" };
  const uploads = { photo: "Photo", "style-image": "Style picture" };
  const radios = ["gallery", "preset", "view"];
  const fieldOf = { prompt: "prompt", seed: "seed", size: "size" };

  function name(element, text) {
    if (element && element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
  }

  function set(element, attribute, value) {
    if (value === null) { if (element.hasAttribute(attribute)) element.removeAttribute(attribute); }
    else if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
  }

  function mend() {
    for (const [id, politeness] of Object.entries(live)) {
      const element = document.getElementById(id);
      if (element) { set(element, "aria-live", politeness); set(element, "role", "status"); }
    }
    for (const [id, what] of Object.entries(uploads)) {
      const button = document.querySelector(`#${id} button.upload-container`);
      if (button) name(button, `${what}: ${button.innerText.replace(/\s+/g, " ").trim()}`);
    }
    // Gradio names each radio button apart, which makes groups of one: arrow keys would not move.
    for (const group of radios) {
      for (const button of document.querySelectorAll(`#${group} input[type=radio]`)) set(button, "name", group);
    }
    name(document.querySelector("#live .image-container > button, #live button:has(img)"), "The picture, full screen");
    for (const thumbnail of document.querySelectorAll("button.thumbnail-item")) {
      const caption = thumbnail.querySelector(".caption-label");
      if (!caption) continue;
      name(thumbnail, caption.textContent.trim());
      set(thumbnail, "title", caption.textContent.trim());
    }
    for (const [id, field] of Object.entries(fieldOf)) {
      const input = document.querySelector(`#${id} textarea, #${id} input`);
      const error = document.getElementById(`${field}-error`);
      const shown = error && error.offsetParent !== null && error.textContent.trim() !== "";
      if (input) { set(input, "aria-invalid", shown ? "true" : null); set(input, "aria-describedby", shown ? error.id : null); }
    }
  }

  // Where the columns are stacked, what happens is below the button.
  document.addEventListener("click", (event) => {
    if (window.innerWidth > 640 || !event.target.closest("#run, #vary, #less, #stronger, #four")) return;
    document.getElementById("stage").scrollIntoView();
  });

  let waiting = false;
  const observer = new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mend(); });
  });
  observer.observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["name"] });
  mend();
})();
