// The texts of all rooms; a view that is loaded later adds its own.

import create from "../create/texts.js";
import edits from "../edits/texts.js";
import form from "../form/texts.js";
import gallery from "../gallery/texts.js";
import inputs from "../inputs/texts.js";
import jobs from "../jobs/texts.js";
import layers from "../layers/texts.js";
import mask from "../mask/texts.js";
import prompts from "../prompts/texts.js";
import queue from "../queue/texts.js";
import shell from "../shell/texts.js";

export const TEXTS = [shell, create, form, gallery, inputs, edits, layers, jobs, mask, prompts, queue];
