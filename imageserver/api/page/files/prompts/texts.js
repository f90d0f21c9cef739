// The texts about prompts.

export default {
  en: {
    "prompts.recent": "Recent prompts",
    "prompts.forget": "Forget all of them",
    "prompts.styles": "Styles",
    "prompts.styles.added": "Added to the prompt: {words}",
    "prompts.try": "Try one of these:",
    "prompts.demo.one": "a red circle on a blue background",
    "prompts.demo.two": "a yellow house in front of snowy mountains",
    "prompts.demo.three": "two green stars on a black background",
    "prompts.model.one": "a lighthouse on a cliff at dusk, waves below, oil on canvas",
    "prompts.model.two": "a cozy bookshop window with the sign “OPEN LATE”, rainy street, warm light",
    "prompts.model.three": "a red fox in fresh snow, close-up, soft morning light",
  },
  zh: {
    "prompts.recent": "最近的提示词",
    "prompts.forget": "全部清除",
    "prompts.styles": "风格",
    "prompts.styles.added": "将添加到提示词：{words}",
    "prompts.try": "试试这些：",
    "prompts.demo.one": "蓝色背景上的红色圆形",
    "prompts.demo.two": "雪山前的黄色房子",
    "prompts.demo.three": "黑色背景上的两颗绿色星星",
    "prompts.model.one": "黄昏时悬崖上的灯塔，脚下海浪翻涌，布面油画",
    "prompts.model.two": "温馨的书店橱窗，招牌上写着“深夜营业”，雨中的街道，暖色灯光",
    "prompts.model.three": "新雪中的一只赤狐，特写，柔和的晨光",
  },
};
