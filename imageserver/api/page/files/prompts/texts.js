// The texts about prompts.

export default {
  en: {
    "prompts.recent": "Recent prompts",
    "prompts.forget": "Forget all of them",
    "prompts.try": "Try one of these:",
    "prompts.demo.one": "a red circle on a blue background",
    "prompts.demo.two": "a yellow house in front of snowy mountains",
    "prompts.demo.three": "two green stars on a black background",
    "prompts.model.one": "a lighthouse on a cliff at dusk, waves below, oil on canvas",
    "prompts.model.two": "a cozy bookshop window with the sign “OPEN LATE”, rainy street, warm light",
    "prompts.model.three": "a red fox in fresh snow, close-up, soft morning light",
    "demo.what": "The demo model knows shapes, a few subjects such as a house or a cat, landscapes, twelve colours and places (left, above, in the corner), in English and in Chinese.",
    "demo.better": "For real images, start the server with MODEL=auto: it takes the best open model that your card holds. The command doctor says which one that is:",
  },
  zh: {
    "prompts.recent": "最近的提示词",
    "prompts.forget": "全部清除",
    "prompts.try": "试试这些：",
    "prompts.demo.one": "蓝色背景上的红色圆形",
    "prompts.demo.two": "雪山前的黄色房子",
    "prompts.demo.three": "黑色背景上的两颗绿色星星",
    "prompts.model.one": "黄昏时悬崖上的灯塔，脚下海浪翻涌，布面油画",
    "prompts.model.two": "温馨的书店橱窗，招牌上写着“深夜营业”，雨中的街道，暖色灯光",
    "prompts.model.three": "新雪中的一只赤狐，特写，柔和的晨光",
    "demo.what": "演示模型认识简单形状、少量物体（如房子、猫）、风景、十二种颜色和方位（左边、上方、角落），支持中文和英文。",
    "demo.better": "要生成真实的图像，请用 MODEL=auto 启动服务器：它会选用您的显卡能容纳的最佳开放模型。doctor 命令会告诉您是哪一个：",
  },
};
