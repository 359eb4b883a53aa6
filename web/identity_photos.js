// The photos on Load Identity Images. Chosen or dropped files become a folder of ComfyUI's input directory, which may
// be on a server far away; each photo can be seen and removed, and after a run it shows whether it was used.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "PersonalVideoLoadIdentityImages";
const ROUTE = "/personalvideo/photos"; // nodes/photo_routes.py
const NO_FOLDER = "[None]";
const [WIDTH, HEIGHT, MIN_HEIGHT] = [400, 300, 190]; // [canvas pixels]
const ACCEPT = "image/*,.heic,.heif,.hif";
const PICTURE = /\.(a?png|jpe?g|jfif|mpo|webp|bmp|gif|tiff?|avif|heic|heif|hif)$/i;

const TEXTS = {
  en: {
    add: "Add photos",
    create: "New person",
    hint: "Drop 1 to 20 photos of one person here, or press New person.",
    empty: "There is no photo in this folder. Drop some here, or press Add photos.",
    ask: "What is the person called? The photos get a folder of this name in ComfyUI's input folder.",
    remove: "Remove",
    sure: "The photo is deleted from ComfyUI's input folder:",
    used: "used",
    unused: "not used",
    sending: (done, all) => `Sending photo ${done} of ${all} ...`,
    lost: "ComfyUI does not answer, or takes no file of this size.",
  },
  zh: {
    add: "添加照片",
    create: "新建人物",
    hint: "把同一个人的 1 到 20 张照片拖到这里，或点击“新建人物”。",
    empty: "此文件夹中没有照片。请拖到这里，或点击“添加照片”。",
    ask: "这个人叫什么名字？照片会放进 ComfyUI 的 input 文件夹中同名的文件夹。",
    remove: "删除",
    sure: "照片将从 ComfyUI 的 input 文件夹中删除：",
    used: "已采用",
    unused: "未采用",
    sending: (done, all) => `正在发送第 ${done} 张照片，共 ${all} 张……`,
    lost: "ComfyUI 没有响应，或不接受这么大的文件。",
  },
};

function texts() {
  return TEXTS[app.ui.settings.getSettingValue("Comfy.Locale")] ?? TEXTS.en;
}

/** The answer of one of the pack's routes. Throws an Error with the server's sentence. */
async function ask(path, options) {
  const answer = await api.fetchApi(path, options).catch(() => undefined);
  const body = await answer?.json().catch(() => undefined);
  if (!answer?.ok) throw new Error(body?.error ?? texts().lost);
  return body;
}

function form(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return { method: "POST", body };
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** The pictures among dropped files, and those inside dropped folders. */
async function picturesOf({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  const inside = await Promise.all(entries.map(filesInFolder));
  return [...files, ...inside.flat()].filter(({ name }) => PICTURE.test(name));
}

async function filesInFolder(folder) {
  const reader = folder.createReader();
  const found = [];
  for (let some; (some = await new Promise((...done) => reader.readEntries(...done))).length; ) found.push(...some);
  const files = found.filter((entry) => entry.isFile && !entry.name.startsWith("."));
  return Promise.all(files.map((entry) => new Promise((...done) => entry.file(...done))));
}

function chain(owner, name, then) {
  const before = owner[name];
  owner[name] = function (...given) {
    const result = before?.apply(this, given);
    then(...given);
    return result;
  };
}

/** What the node shows below its inputs. */
class Photos {
  photos = [];
  own = false; // whether photos of this folder may be added and removed
  problems = new Map(); // by photo, of the last run; "" for a photo that was used
  shown = undefined; // the folder

  constructor(node) {
    this.node = node;
    this.folder = node.widgets.find(({ name }) => name === "folder");
    this.build();

    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => MIN_HEIGHT };
    node.addDOMWidget("photos", "personalvideo_photos", this.root, options).serialize = false;
    chain(this.folder, "callback", () => this.show());
    chain(node, "onConfigure", () => this.show());
    chain(node, "onExecuted", (output) => this.mark(output));
    this.acceptDrops();
    node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1] + HEIGHT - MIN_HEIGHT]);
    this.show();
  }

  build() {
    this.root = element("div", "pv-photos");
    this.root.tabIndex = -1;
    this.root.dataset.captureWheel = "true"; // Nodes 2.0 scrolls what was clicked, and zooms otherwise
    this.root.style.setProperty("--pv-photos-height", `${MIN_HEIGHT}px`);
    this.addButton = chooser((files) => this.add(files));
    this.newButton = chooser((files) => this.create(files));
    const bar = element("div", "pv-photos-bar");
    bar.append(this.addButton, this.newButton);
    this.hint = element("div", "pv-photos-hint");
    this.grid = element("div", "pv-photos-grid");
    this.notes = element("div", "pv-photos-notes");
    this.notes.setAttribute("role", "status");
    this.root.append(bar, this.hint, this.grid, this.notes);
  }

  /** Anywhere on the node; in the classic design the canvas does not see what happens above the photos. */
  acceptDrops() {
    this.node.onDragOver = ({ dataTransfer }) => !!dataTransfer?.types.includes("Files");
    this.node.onDragDrop = async ({ dataTransfer }) => {
      const files = await picturesOf(dataTransfer);
      if (files.length) this.own ? this.add(files) : this.create(files);
      return files.length > 0;
    };
    this.root.addEventListener("dragover", (event) => {
      if (!this.node.onDragOver(event)) return;
      event.preventDefault();
      app.dragOverNode = this.node;
    });
  }

  /** Shows the photos of the chosen folder as they are now. */
  async show() {
    const folder = this.folder.value;
    let found = { photos: [], own: false, problem: "" };
    if (folder !== NO_FOLDER) {
      const failed = ({ message }) => ({ ...found, problem: message });
      found = await ask(`${ROUTE}?${new URLSearchParams({ folder })}`).catch(failed);
    }
    if (folder !== this.folder.value) return; // another one was chosen meanwhile
    if (folder !== this.shown) this.problems.clear();
    this.shown = folder;
    [this.photos, this.own] = [found.photos, found.own];
    this.draw(found.problem);
  }

  draw(notes = "") {
    const { photos, own } = this;
    this.addButton.textContent = texts().add;
    this.newButton.textContent = texts().create;
    this.addButton.hidden = !own;
    this.hint.textContent = own ? texts().empty : texts().hint;
    this.hint.hidden = photos.length > 0;
    this.grid.replaceChildren(...photos.map((photo) => this.picture(photo)));
    const unused = photos.map(({ name }) => this.problems.get(name)).filter(Boolean);
    this.notes.textContent = [notes, ...unused].filter(Boolean).join("\n");
  }

  picture({ name, version }) {
    const figure = element("figure", "pv-photo");
    const image = element("img", "");
    image.alt = figure.title = name;
    image.draggable = false;
    image.addEventListener("error", () => image.replaceWith(element("div", "pv-photo-name", name)));
    image.src = api.apiURL(`${ROUTE}/thumbnail?${new URLSearchParams({ folder: this.shown, photo: name, version })}`);
    figure.append(image);
    const problem = this.problems.get(name);
    if (problem !== undefined) {
      figure.classList.add(problem ? "unused" : "used");
      figure.title = problem || name;
      figure.append(element("figcaption", "pv-photo-mark", problem ? texts().unused : texts().used));
    }
    if (this.own) {
      const button = element("button", "", "×");
      button.type = "button";
      button.ariaLabel = button.title = `${texts().remove} ${name}`;
      button.addEventListener("click", () => this.remove(name));
      figure.append(button);
    }
    return figure;
  }

  /** What a run says of each photo; it reads the photos of the images input as well. */
  mark(output) {
    if (!output?.photos) return;
    this.problems = new Map(output.photos.map(({ name, problem }) => [name, problem]));
    this.draw();
  }

  /** Gives the files a folder of their own. */
  async create(files) {
    const folder = await newFolder();
    if (folder) await this.send(folder, files);
  }

  add(files) {
    return this.send(this.folder.value, files);
  }

  /** Sends the files one after the other, chooses the folder, and says which photos were refused and why. */
  async send(folder, files) {
    const refused = [];
    this.addButton.disabled = this.newButton.disabled = true;
    for (const [index, photo] of [...files].entries()) {
      this.notes.textContent = texts().sending(index + 1, files.length);
      await ask(ROUTE, form({ folder, photo })).catch((error) => refused.push(error.message));
    }
    this.addButton.disabled = this.newButton.disabled = false;
    if (refused.length < files.length) this.choose(folder);
    await this.show();
    this.draw(refused.join("\n"));
  }

  async remove(photo) {
    const { remove: title, sure: message } = texts();
    const sure = await app.extensionManager.dialog.confirm({ title, message, type: "delete", itemList: [photo] });
    if (!sure) return;
    const place = new URLSearchParams({ folder: this.shown, photo });
    const problem = await ask(`${ROUTE}?${place}`, { method: "DELETE" }).then(() => "", (error) => error.message);
    await this.show();
    this.draw(problem);
  }

  /** Puts a folder into the lists of all these nodes, and chooses it here. */
  choose(folder) {
    const before = this.folder.value;
    for (const { folder: widget } of everywhere()) {
      if (!widget.options.values.includes(folder)) widget.options.values.push(folder);
    }
    this.folder.value = folder;
    this.folder.callback?.(folder);
    this.node.onWidgetChanged?.(this.folder.name, folder, before, this.folder);
    this.node.setDirtyCanvas(true, true);
  }
}

/** A button that lets several photos be chosen and hands them to `take`. */
function chooser(take) {
  const button = element("button", "");
  button.type = "button";
  button.addEventListener("click", () => {
    const input = Object.assign(document.createElement("input"), { type: "file", accept: ACCEPT, multiple: true });
    input.addEventListener("change", () => input.files.length && take([...input.files]));
    input.click();
  });
  return button;
}

/** Asks what the person is called until a folder can have this name. Undefined when the user does not say. */
async function newFolder() {
  for (let message = texts().ask; ; ) {
    const name = await app.extensionManager.dialog.prompt({ title: texts().create, message, defaultValue: "" });
    if (name === null) return undefined;
    try {
      return (await ask(`${ROUTE}/folder`, form({ name }))).folder;
    } catch (error) {
      message = error.message;
    }
  }
}

function everywhere() {
  return app.graph.nodes.map((node) => node.identityPhotos).filter(Boolean);
}

app.registerExtension({
  name: "PersonalVideo.IdentityPhotos",

  setup() {
    const href = new URL("identity_photos.css", import.meta.url);
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
    api.addEventListener("personalvideo.no_photo_used", ({ detail }) => {
      app.graph.getNodeById(detail.node)?.identityPhotos?.mark(detail.output);
    });
  },

  nodeCreated(node) {
    if (node.comfyClass === NODE) node.identityPhotos = new Photos(node);
  },

  refreshComboInNodes() {
    for (const photos of everywhere()) photos.show();
  },
});
