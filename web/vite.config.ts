// Builds the page into the package: one script and one style sheet, named by their content, the same bytes on every machine.
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "../src/clew/web/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    rollupOptions: {
      output: {
        inlineDynamicImports: true,
        entryFileNames: "assets/page-[hash].js",
        assetFileNames: "assets/page-[hash][extname]",
      },
    },
  },
  server: { proxy: { "/api": "http://127.0.0.1:4747" } },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
