"use strict";
// Linked views of a session, drawn by NiiVue, which the page carries compressed.
(() => {
    const viewer = document.getElementById("viewer");
    const data = JSON.parse(document.getElementById("viewer-data").textContent);
    const select = document.getElementById("viewer-session");
    const slider = document.getElementById("viewer-slice");
    const sliceText = document.getElementById("viewer-slice-text");
    const values = document.getElementById("viewer-values");
    const panels = viewer.querySelector(".panels");
    const figures = [...panels.querySelectorAll("figure")];
    const centre = [0.5, 0.5];
    // Axes (right, front, top) along a view's columns and rows, and through the slices.
    const plane = {
        axial: { type: "sliceTypeAxial", axes: [0, 1, 2] },
        coronal: { type: "sliceTypeCoronal", axes: [0, 2, 1] },
        sagittal: { type: "sliceTypeSagittal", axes: [1, 2, 0] },
    }[data.plane];
    const options = {
        interactive: false, // its touch and wheel handlers would stop the page from scrolling
        dragAndDropEnabled: false,
        logLevel: "error",
        loadingText: "",
        backColor: [0, 0, 0, 1],
        crosshairColor: [1, 0.77, 0, 0.75],
        crosshairWidth: 0,
        crosshairGap: 8, // leaves the voxel that is read in view
        isNearestInterpolation: true, // what was measured, not what lies between
        isOrientationTextVisible: false,
    };
    let views = [];
    let session = data.sessions[0];
    let cross = [...centre];
    let queue = Promise.resolve();

    async function inflate(id) {
        const text = atob(document.getElementById(id).textContent.trim());
        const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
        const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
        return new Response(stream).arrayBuffer();
    }

    async function loadLibrary() {
        const code = await inflate("viewer-code");
        const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
        await new Promise((resolve, reject) => {
            const script = document.createElement("script");
            script.src = address;
            script.onload = resolve;
            script.onerror = () => reject(new Error("the viewer's code did not load"));
            document.head.append(script);
        });
        URL.revokeObjectURL(address);
    }

    async function makeView(figure) {
        const view = new niivue.Niivue(options);
        view.addColormap("page_error", data.errorColours);
        await view.attachToCanvas(figure.querySelector("canvas"), false);
        view.setSliceType(view[plane.type]);
        return view;
    }

    async function load(view, panel) {
        const buffer = await inflate(panel.volume);
        while (view.volumes.length) view.removeVolumeByIndex(0);
        await view.addVolumeFromUrl({
            url: "volume.nii",
            name: "volume.nii",
            buffer,
            colormap: panel.isError ? "page_error" : "gray",
            cal_min: 0,
            cal_max: panel.isError ? data.maxError : 255,
        });
    }

    async function show(number) {
        viewer.dataset.state = "loading";
        session = data.sessions[number];
        cross = [...centre];
        views.forEach((view) => view.setCrosshairWidth(0));
        await Promise.all(session.panels.map((panel, place) => load(views[place], panel)));
        slider.max = session.slices;
        moveTo(session.first);
        viewer.dataset.state = "ready";
    }

    function moveTo(slice) {
        slider.value = Math.min(Math.max(slice, 1), session.slices);
        const text = `${slider.value} of ${session.slices}`;
        sliceText.textContent = text;
        slider.setAttribute("aria-valuetext", text);
        draw();
    }

    function draw() {
        const position = [];
        [...cross, (slider.value - 0.5) / session.slices].forEach((value, place) => {
            position[plane.axes[place]] = value;
        });
        const read = [];
        views.forEach((view, place) => {
            view.scene.crosshairPos = position;
            view.drawScene();
            const panel = session.panels[place];
            const [x, y, z] = view.frac2vox(position);
            const value = (view.volumes[0].getValue(x, y, z) / 255).toFixed(2);
            read.push(`${panel.caption[0].toLowerCase()}${panel.caption.slice(1)} ${value}`);
            figures[place].querySelector("figcaption").textContent = panel.caption;
            figures[place].querySelector("canvas").setAttribute(
                "aria-label",
                `${panel.caption} of ${session.name}, slice ${slider.value} of ${session.slices}`,
            );
        });
        values.textContent = views[0].opts.crosshairWidth ? `At the cross: ${read.join(", ")}.` : "";
    }

    function placeCross(x, y) {
        cross = [x, y].map((value) => Math.min(Math.max(value, 0), 1));
        views.forEach((view) => view.setCrosshairWidth(1));
        draw();
    }

    function click(event) {
        const place = figures.findIndex((figure) => figure.contains(event.target));
        if (event.target.tagName !== "CANVAS" || place < 0) return;
        const scale = event.target.width / event.target.clientWidth;
        const found = views[place].canvasPos2frac([event.offsetX * scale, event.offsetY * scale]);
        if (found[0] >= 0) placeCross(found[plane.axes[0]], found[plane.axes[1]]);
    }

    function press(event) {
        const [columns, rows] = plane.axes.map((axis) => views[0].volumes[0].dimsRAS[axis + 1]);
        const moves = {
            ArrowLeft: [-1 / columns, 0], ArrowRight: [1 / columns, 0],
            ArrowUp: [0, 1 / rows], ArrowDown: [0, -1 / rows],
        };
        const slices = { PageUp: 1, PageDown: -1 };
        if (event.key in moves) placeCross(cross[0] + moves[event.key][0], cross[1] + moves[event.key][1]);
        else if (event.key in slices) moveTo(Number(slider.value) + slices[event.key]);
        else return;
        event.preventDefault();
    }

    function roll(event) {
        if (document.activeElement !== panels) return; // a page that scrolls past stays free
        event.preventDefault();
        moveTo(Number(slider.value) - Math.sign(event.deltaY));
    }

    async function start() {
        viewer.dataset.state = "loading";
        await loadLibrary();
        for (const figure of figures) views.push(await makeView(figure));
        await show(0);
        slider.addEventListener("input", () => moveTo(Number(slider.value)));
        select.addEventListener("change", () => {
            queue = queue.then(() => show(Number(select.value))).catch(fail);
        });
        panels.addEventListener("click", click);
        panels.addEventListener("keydown", press);
        panels.addEventListener("wheel", roll, { passive: false });
        select.disabled = slider.disabled = false;
    }

    function fail(error) {
        viewer.dataset.state = "missing";
        document.getElementById("viewer-body").hidden = true;
        document.getElementById("viewer-missing").hidden = false;
        if (error) console.warn(error);
    }

    const canDraw = document.createElement("canvas").getContext("webgl2");
    if (!canDraw || !window.DecompressionStream) {
        fail();
        return;
    }
    const watcher = new IntersectionObserver((entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        watcher.disconnect();
        queue = start().catch(fail);
    }, { rootMargin: "600px" });
    watcher.observe(viewer);
})();
