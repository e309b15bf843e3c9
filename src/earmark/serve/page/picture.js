// Waveform, spectrogram, segments and playback of one recording, with wavesurfer.js.

import WaveSurfer from "./vendor/wavesurfer.esm.js";
import Regions from "./vendor/regions.esm.js";
import Spectrogram from "./vendor/spectrogram.esm.js";

const LONGEST_SPECTROGRAM_S = 600;
const LOUDEST_DB = -20; // range of the spectrogram's colours, in dB of full scale
const QUIETEST_DB = -100;
const WINDOW_DB = -6; // level of a full-scale tone with the plugin's Hann window
const HIGHEST_HZ = 22050; // top of the spectrogram, if the recording has it
const LOWEST_RATE_HZ = 8000; // lowest rate that every browser can decode to
const COLOURS = Array.from({ length: 256 }, (_, i) => [...colour(i / 255).map((part) => part / 255), 1]);

const hues = new Map();

// One colour per label: hues are a golden angle apart, so that neighbours differ.
export function colourOf(label, alpha = 1) {
  if (!hues.has(label)) hues.set(label, (210 + 137.5 * hues.size) % 360);
  return `hsl(${hues.get(label)} 65% 45% / ${alpha})`;
}

export class Picture {
  constructor(onTime, onState) {
    this.onTime = onTime;
    this.onState = onState;
    this.surfer = null;
  }

  clear() {
    this.surfer?.destroy();
    this.surfer = null;
    document.getElementById("spectrogram").replaceChildren();
    this.shown = null;
  }

  // Axes in the page's language, around the picture.
  describe(words) {
    if (!this.shown) return;
    const { duration, spectrogram, highest } = this.shown, most = innerWidth < 600 ? 4 : 10;
    const frames = ["waveform", "spectrogram"].map((name) => document.getElementById(`${name}-frame`));
    const x = times(duration, { most, name: words.time });
    frames[0].classList.toggle("alone", !spectrogram);
    frames[1].hidden = !spectrogram;
    setAxes(frames[0], { x: spectrogram ? null : x, y: linear(words.amplitude, -1, 1, { most: 2 }) });
    if (!spectrogram) return;
    setAxes(frames[1], {
      x, y: frequencies(0, highest, "mel", { name: words.frequency }),
      colours: linear(words.level, QUIETEST_DB, LOUDEST_DB, { exact: true }),
    });
    document.getElementById("spectrogram").setAttribute("aria-label",
      words.spectrogram(duration.toFixed(1), highest, QUIETEST_DB, LOUDEST_DB));
  }

  // Draw a recording, up to half its sampling rate if known; false if this browser cannot decode it.
  async draw(blob, segments, duration, rate) {
    this.clear();
    const highest = rate ? Math.min(HIGHEST_HZ, Math.max(rate, LOWEST_RATE_HZ) / 2) : HIGHEST_HZ;
    const short = duration <= LONGEST_SPECTROGRAM_S;
    const regions = Regions.create();
    const surfer = WaveSurfer.create({
      container: "#waveform", height: 96, waveColor: "#7a8ca3", progressColor: "#3d6fb4", cursorColor: "#c0392b",
      sampleRate: short ? 2 * highest : LOWEST_RATE_HZ, // high enough for bird song; low for long recordings, to save memory
      plugins: [regions],
    });
    this.surfer = surfer;
    surfer.on("timeupdate", (seconds) => this.onTime(seconds, surfer.getDuration()));
    for (const event of ["play", "pause", "finish"]) surfer.on(event, () => this.onState(surfer.isPlaying()));
    try {
      const refused = new Promise((_, reject) => {
        surfer.on("error", reject);
        surfer.getMediaElement().addEventListener("error", reject); // otherwise loadBlob waits forever
      });
      await Promise.race([surfer.loadBlob(blob), refused]);
    } catch {
      if (this.surfer === surfer) this.clear();
      return { drawn: false, spectrogram: false };
    }
    if (this.surfer !== surfer) return { drawn: false, spectrogram: false }; // the user has chosen another recording
    this.onTime(0, surfer.getDuration());
    this.shown = { duration: surfer.getDuration(), spectrogram: short, highest };
    for (const segment of segments) {
      const region = regions.addRegion({
        start: segment.start_s, end: segment.end_s, drag: false, resize: false,
        content: segment.share === undefined ? segment.label : undefined,
        color: colourOf(segment.label, segment.share === undefined ? 0.25 : 0.05 + 0.5 * segment.share),
      });
      region.on("click", (event) => {
        event.stopPropagation();
        this.play(segment.start_s, segment.end_s);
      });
    }
    if (short) {
      const container = document.getElementById("spectrogram");
      surfer.registerPlugin(Spectrogram.create({
        container, height: 128, scale: "mel", colorMap: COLOURS, frequencyMax: highest,
        gainDB: -(LOUDEST_DB + WINDOW_DB), rangeDB: LOUDEST_DB - QUIETEST_DB,
      }));
    }
    return { drawn: true, spectrogram: short };
  }

  play(start, end) {
    this.surfer?.play(start, end);
  }

  isPlaying() {
    return this.surfer?.isPlaying() ?? false;
  }

  toggle() {
    this.surfer?.playPause();
  }
}
