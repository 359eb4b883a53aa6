// Texts on our nodes. ComfyUI cuts a progress text after two lines: this makes room for all of it. And it
// shows a failed node in red, but keeps the message in a panel that has to be opened: this writes the
// message, one sentence with the remedy, on the node itself until the next run.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const TEXT = "$$node-text-preview"; // the widget of ComfyUI's own progress texts
const [LETTER, LINE, EDGE] = [6.6, 17, 40]; // of its letters [canvas pixels]
const failed = new Set(); // nodes that ran
const refused = new Set(); // nodes that did not, while others of the workflow did

function ourNode(id) {
  const node = app.graph.getNodeById(id);
  return node?.comfyClass?.startsWith("PersonalVideo") ? node : undefined;
}

function textWidget(node) {
  return node?.widgets?.find((widget) => widget.name === TEXT);
}

function makeRoom({ detail }) {
  const node = ourNode(detail.nodeId);
  const widget = textWidget(node);
  if (!widget) return;
  const lines = Math.max(2, Math.ceil((detail.text.length * LETTER) / (node.size[0] - EDGE)));
  if (lines === widget.lines) return;
  widget.lines = lines;
  widget.computeLayoutSize = () => ({ minHeight: lines * LINE + EDGE, minWidth: 1 });
  node.expandToFitContent();
}

function showError(id, sentence, among) {
  if (!ourNode(id)) return;
  among.add(id);
  api.dispatchCustomEvent("progress_text", { nodeId: id, text: sentence.trim() });
}

/** What a node says about its inputs before the run; ComfyUI puts the input's name in front once more. */
function showRefusals(nodeErrors) {
  for (const [id, { errors }] of Object.entries(nodeErrors ?? {})) {
    const error = errors.find(({ type }) => type === "custom_validation_failed");
    if (error) showError(id, error.details.replace(`${error.extra_info?.input_name} - `, ""), refused);
  }
}

function clear(nodes) {
  for (const id of nodes) {
    const node = ourNode(id);
    const widget = textWidget(node);
    if (widget) node.removeWidget(widget);
  }
  nodes.clear();
}

app.registerExtension({
  name: "PersonalVideo.TextOnNode",

  setup() {
    api.addEventListener("execution_start", () => clear(failed));
    api.addEventListener("execution_error", ({ detail }) => showError(detail.node_id, detail.exception_message, failed));
    api.addEventListener("progress_text", (event) => setTimeout(() => makeRoom(event)));

    const queuePrompt = api.queuePrompt;
    api.queuePrompt = async function (...prompt) {
      clear(failed);
      clear(refused);
      try {
        const answer = await queuePrompt.apply(this, prompt);
        showRefusals(answer?.node_errors);
        return answer;
      } catch (error) {
        showRefusals(error.response?.node_errors);
        throw error;
      }
    };
  },
});
