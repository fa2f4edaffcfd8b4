// Builds the page into the package, the same bytes on every machine: as the server sends it, a script whose further views
// and languages come on demand, all named by their content; and with `--mode file` as one script for self-contained files.
import { defineConfig } from "vitest/config";

const STATIC = "../src/clew/web/static";
const NAMES = {
  entryFileNames: "assets/page-[hash].js",
  chunkFileNames: "assets/[name]-[hash].js",
  assetFileNames: "assets/page-[hash][extname]",
};

export default defineConfig(({ mode }) => ({
  base: "./",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    ...(mode === "file" ? { outDir: `${STATIC}/file`, copyPublicDir: false } : { outDir: STATIC }),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    rollupOptions:
      mode === "file"
        ? {
            input: "src/main.tsx",
            output: { inlineDynamicImports: true, entryFileNames: "page.js", assetFileNames: "page[extname]" },
          }
        : { output: NAMES },
  },
  server: { proxy: { "/api": "http://127.0.0.1:4747" } },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
}));
