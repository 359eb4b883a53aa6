// ComfyUI shows a failed node in red and keeps the message in a panel that has to be opened. This writes
// the message of our nodes, one sentence with the remedy, on the node itself until the next run.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const TEXT = "$$node-text-preview"; // the widget of ComfyUI's own progress texts
const [LETTER, LINE, EDGE] = [6.6, 17, 40]; // of its letters [canvas pixels]
const failed = new Set();

function isOurs(type) {
  return type?.startsWith("PersonalVideo");
}

/** Room for a text of the node's width, which would otherwise be cut after two lines. */
function makeRoom(node, text) {
  const widget = node.widgets.find((each) => each.name === TEXT);
  const lines = Math.ceil((text.length * LETTER) / (node.size[0] - EDGE));
  if (widget) widget.computeLayoutSize = () => ({ minHeight: lines * LINE + EDGE, minWidth: 1 });
  node.expandToFitContent();
}

function clear() {
  for (const id of failed) {
    const node = app.graph.getNodeById(id);
    const widget = node?.widgets?.find((each) => each.name === TEXT);
    if (widget) node.removeWidget(widget);
  }
  failed.clear();
}

app.registerExtension({
  name: "PersonalVideo.ErrorOnNode",

  setup() {
    api.addEventListener("execution_start", clear);
    api.addEventListener("execution_error", ({ detail }) => {
      if (!isOurs(detail.node_type)) return;
      const text = detail.exception_message.trim();
      failed.add(detail.node_id);
      api.dispatchCustomEvent("progress_text", { nodeId: detail.node_id, text });
      const node = app.graph.getNodeById(detail.node_id);
      if (node) makeRoom(node, text);
    });
  },
});
