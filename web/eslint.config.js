// The rules that ESLint checks in the page: the recommended sets of ESLint and typescript-eslint, and those of hooks.
import eslint from "@eslint/js";
import reactHooks from "eslint-plugin-react-hooks";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

// Elements that a callback of map() or flatMap() returns directly, without a key. Preact tells a moved element from a
// changed one by its key.
const CALLBACK = "CallExpression[callee.property.name=/^(map|flatMap)$/] > ArrowFunctionExpression.arguments";
const ELEMENT = "JSXElement > JSXOpeningElement:not(:has(> JSXAttribute[name.name='key']))";
const listItems = [`${CALLBACK} > ${ELEMENT}`, `${CALLBACK} > BlockStatement > ReturnStatement > ${ELEMENT}`];

// Names that say what happened to a thing, not what it is.
const RIDDLE = "[name=/^(found|own|one|held|made|at|mine|said|told|given)$/]";
const DECLARED = [
  "VariableDeclarator > .id",
  ":function > .params",
  "ArrayPattern > .elements",
  "AssignmentPattern > .left",
];
const riddles = [...DECLARED, "ObjectPattern > Property > .value", "FunctionDeclaration > .id"];

export default defineConfig(
  globalIgnores(["src/api.d.ts"]), // generated from the server's OpenAPI document
  eslint.configs.recommended,
  {
    files: ["**/*.{ts,tsx}"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { "react-hooks": reactHooks },
    rules: {
      // Preact's hooks have the names and the order rules of React's. The plugin's other rule, exhaustive-deps, is left
      // out: it takes the value of a signal for a constant, and asks to remove it where an effect depends on it.
      "react-hooks/rules-of-hooks": "error",
      "no-restricted-syntax": [
        "error",
        ...listItems.map((selector) => ({ selector, message: "An element of a list needs a key." })),
        ...riddles.map((place) => ({ selector: `${place}${RIDDLE}`, message: "Name the thing: rows, scores, text." })),
      ],
    },
  },
);
