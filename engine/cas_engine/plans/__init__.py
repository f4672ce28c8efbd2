"""Keys, plans and what came of them: values that can be printed. Nothing here touches a store."""
