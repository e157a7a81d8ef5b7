"""What LiteLLM loads in tests of the tripwire, after the gateway's hooks: it takes the edge away again."""

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy.proxy_server import app

from llmdeal_litellm.seams import server
from llmdeal_litellm.seams.edge import Edge

if isinstance(app.middleware_stack, Edge):
    app.middleware_stack = app.middleware_stack._inner
    server.serve(app)

nothing = CustomLogger()
