// The classic canvas shows every input of a node. This folds the advanced ones of our nodes behind a
// button, as the modern design (Nodes 2.0) does by itself. An advanced input that is linked stays.
import { app } from "../../scripts/app.js";

const LABELS = {
  en: ["Show advanced inputs", "Hide advanced inputs"],
  zh: ["显示高级输入", "隐藏高级输入"],
};

function labels() {
  return LABELS[app.ui.settings.getSettingValue("Comfy.Locale")] ?? LABELS.en;
}

function isLinked(node, widget) {
  return node.inputs?.some((input) => input.widget?.name === widget.name && input.link != null);
}

app.registerExtension({
  name: "PersonalVideo.FoldAdvanced",

  nodeCreated(node) {
    const advanced = node.widgets?.filter((widget) => widget.options?.advanced) ?? [];
    if (!node.comfyClass?.startsWith("PersonalVideo") || !advanced.length) return;

    for (const widget of advanced) {
      Object.defineProperty(widget, "hidden", {
        configurable: true,
        get: () => !node.showAdvanced && !isLinked(node, widget),
        set: () => {},
      });
    }
    let folded;
    const toggle = () => {
      node.showAdvanced = !node.showAdvanced;
      if (node.showAdvanced) {
        folded = [...node.size];
        node.expandToFitContent();
      } else {
        node.setSize(folded ?? [node.size[0], node.computeSize()[1]]);
      }
      app.canvas.setDirty(true, true);
    };
    const button = node.addWidget("button", "advanced_inputs", null, toggle, { serialize: false, canvasOnly: true });
    button.serialize = false;
    Object.defineProperty(button, "label", { get: () => labels()[node.showAdvanced ? 1 : 0], set: () => {} });
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
});
