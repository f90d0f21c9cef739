// The texts of what a finished image can become.

export default {
  en: {
    "edits.instruction": "What to change in this image",
    "edits.instruction.example": "Change …",
    "edits.change": "Change it",
    "edits.vary": "Variations",
    "edits.strength": "How much changes",
    "edits.subtle": "a little",
    "edits.strong": "a lot",
    "edits.same_seed": "same seed",
    "edits.four": "Generate four",
    "edits.compare": "Before and after",
    "edits.before": "The image before",
    "edits.after": "The image after",
    "edits.enlarge": "Enlarge 2×",
  },
  zh: {
    "edits.instruction": "如何修改此图像",
    "edits.instruction.example": "修改…",
    "edits.change": "修改",
    "edits.vary": "变体",
    "edits.strength": "变化程度",
    "edits.subtle": "轻微",
    "edits.strong": "强烈",
    "edits.same_seed": "相同种子",
    "edits.four": "生成四张",
    "edits.compare": "前后对比",
    "edits.before": "修改前的图像",
    "edits.after": "修改后的图像",
    "edits.enlarge": "放大 2×",
  },
};
