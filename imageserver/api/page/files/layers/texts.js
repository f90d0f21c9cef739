// The texts of the layers of an image.

export default {
  en: {
    "layers.count": "Layers",
    "layers.show": "Layers",
    "layers.title": "Layers of the image",
    "layers.nth": "Layer {number}",
    "layers.download": "Download",
    "layers.download.of": "Download {name}",
    "layers.hint": "Each file has its transparency, unless it is jpeg.",
    "layers.close": "Close",
  },
  zh: {
    "layers.count": "图层数",
    "layers.show": "图层",
    "layers.title": "图像的图层",
    "layers.nth": "图层 {number}",
    "layers.download": "下载",
    "layers.download.of": "下载{name}",
    "layers.hint": "除 jpeg 外，每个文件都保留透明度。",
    "layers.close": "关闭",
  },
};
