// The texts of what stands in the place of the cards before there are any.

export default {
  en: {
    "latest.title": "Last images",
    "latest.image": "An image without a prompt",
    "demo.what": "The demo model knows shapes, a few subjects such as a house or a cat, landscapes, twelve colours and places (left, above, in the corner), in English and in Chinese.",
    "demo.card": "Real images on this graphics card ({gpu}): {name} fits into its free memory.",
    "demo.cpu": "Real images on this machine, which has no suitable graphics card: {name} runs on its processor too, slowly.",
    "demo.none": "No model for real images fits into the memory that is free here now.",
    "demo.download": " Its files ({gb} GB, licence {licence}) are downloaded once.",
    "demo.line": "To begin with it at every start, stop the server and start it with this line in its folder:",
    "demo.doctor": "What else this machine can serve, and why:",
  },
  zh: {
    "latest.title": "最近的图像",
    "latest.image": "没有提示词的图像",
    "demo.what": "演示模型认识简单形状、少量物体（如房子、猫）、风景、十二种颜色和方位（左边、上方、角落），支持中文和英文。",
    "demo.card": "此显卡（{gpu}）可以生成真实的图像：其空闲显存可容纳 {name}。",
    "demo.cpu": "此机器没有合适的显卡，但也可以生成真实的图像：{name} 可在处理器上运行，速度较慢。",
    "demo.none": "目前空闲的内存容纳不下任何真实图像模型。",
    "demo.download": "其文件（{gb} GB，许可证 {licence}）只需下载一次。",
    "demo.line": "若要每次启动都使用它，请停止服务器，再在其文件夹中用这一行启动：",
    "demo.doctor": "查看此机器还能运行哪些模型及其原因：",
  },
};
