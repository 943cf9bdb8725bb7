// Search where a page is a file: a browser starts no worker from a file, so the script of one runs in a hidden frame.
(function () {
  "use strict";
  if (location.protocol !== "file:") return;

  class FrameWorker extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inside = frame.contentWindow;
      this._inside = inside;
      window.addEventListener("message", (event) => {
        if (event.source !== inside) return;
        const told = new MessageEvent("message", { data: event.data });
        if (this.onmessage) this.onmessage(told);
        this.dispatchEvent(told);
      });
      this._ready = new Promise((resolve) => {
        inside.document.open();
        inside.document.write("<!doctype html><body></body>");
        inside.document.close();
        // What the script posts goes to the page.
        inside.eval(
          "postMessage = (data) => parent.postMessage(data, '*');" +
            "importScripts = (...urls) => Promise.all(urls.map((url) => new Promise((resolve, reject) => {" +
            "const script = document.createElement('script'); script.src = url;" +
            "script.onload = resolve; script.onerror = reject; document.body.appendChild(script); })));"
        );
        load(inside, url).then(resolve);
      });
    }

    postMessage(data) {
      this._ready.then(() => this._inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {}
  }

  function load(inside, url) {
    return new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = reject;
      inside.document.body.appendChild(script);
    });
  }

  window.Worker = FrameWorker;
})();
