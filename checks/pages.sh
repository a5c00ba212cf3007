# The pages of both services in a real browser, and their API descriptions against their responses.
# checks/run.sh pages --pictures FOLDER also saves screenshots.
# checks/run.sh pages --demo checks nothing: it writes the transcript and the pictures of docs/demo.md, in three minutes.
debian chromium chromium
npm_packages pages playwright-core@1.65.1 axe-core@4.14.1 ajv@8.20.0 ajv-formats@3.0.1 @seriousme/openapi-schema-validator@2.11.0
export PAGES_NODE_MODULES=$tools/pages/node_modules

if [ "${1:-}" = --demo ]; then
    install_moto
    install_engine
    build_services demo
    node checks/pages/demo.mjs
else
    build_services
    node checks/pages/main.mjs "$@"
fi
